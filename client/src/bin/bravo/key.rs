//! `bravo key`: make, list and revoke API keys, and read the audit log.

use bravo_client::Timestamp;
use bravo_client::json::{AuditAnswer, KeyAnswer, KeyListAnswer};
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, fields, more, or_dash, show};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key; its secret is shown this once
    Create(Create),
    /// List the keys that you may see
    List {
        /// Keys of this project only
        #[arg(long)]
        project: Option<String>,
        /// From the last page
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Revoke a key: no node takes it any more
    Revoke {
        /// Its id: the middle of the key
        id: String,
    },
    /// Write a new key for auth.admin_key_file, without a cluster
    Generate,
    /// Read who did what: changes by administrators, and who was turned away
    Audit {
        /// Not before this time (RFC 3339), or behind the entry of this number
        #[arg(long)]
        since: Option<String>,
        /// Of this actor only, such as key:0123456789ab
        #[arg(long)]
        actor: Option<String>,
        /// From the last page
        #[arg(long)]
        cursor: Option<String>,
    },
}

#[derive(clap::Args)]
struct Create {
    /// What people call it
    name: String,
    /// The project that it is for; all of them if absent
    #[arg(long)]
    project: Option<String>,
    /// What it may be used for
    #[arg(long, required = true, value_delimiter = ',', value_parser = ["enqueue", "work", "read", "admin"])]
    roles: Vec<String>,
    /// From then on it is refused (RFC 3339); never if absent
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_at: Option<Timestamp>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    serde_json::from_value(text.into()).map_err(|_| "a time such as 2027-01-31T00:00:00Z".to_owned())
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    match args.command {
        Command::Generate => println!("{}", bravo_api::keys::generate()),
        Command::Create(Create { name, project, roles, expires_at }) => {
            let made = global.client()?.make_key(&name, project.as_deref(), &roles, expires_at).await?;
            show(global.output, &made, |made| {
                let lost = || "lost with an answer that did not arrive: revoke this key and make another".to_owned();
                let mut rows = rows(&made.of);
                rows.push(("key", made.key.clone().unwrap_or_else(lost)));
                fields(&rows)
            });
        }
        Command::List { project, cursor } => {
            show(global.output, &global.client()?.keys(project.as_deref(), cursor.as_deref()).await?, listed);
        }
        Command::Revoke { id } => global.client()?.revoke_key(&id).await?,
        Command::Audit { since, actor, cursor } => {
            let page = global.client()?.audit(since.as_deref(), actor.as_deref(), cursor.as_deref()).await?;
            show(global.output, &page, entries);
        }
    }
    Ok(())
}

fn rows(key: &KeyAnswer) -> Vec<(&'static str, String)> {
    vec![
        ("id", key.id.clone()),
        ("name", key.name.clone()),
        ("project", or_dash(key.project_id.as_ref())),
        ("roles", key.roles.join(" ")),
        ("expires at", or_dash(key.expires_at.as_ref())),
    ]
}

fn listed(list: &KeyListAnswer) -> String {
    let mut table = Table::new(&["id", "name", "project", "roles", "expires at", "last used at"]);
    for key in &list.keys {
        table.row([
            key.id.clone(),
            key.name.clone(),
            or_dash(key.project_id.as_ref()),
            key.roles.join(" "),
            or_dash(key.expires_at.as_ref()),
            or_dash(key.last_used_at.as_ref()),
        ]);
    }
    table.render() + &more(list.next_cursor.as_ref())
}

fn entries(page: &AuditAnswer) -> String {
    let mut table = Table::new(&["seq", "at", "actor", "action", "target", "result"]);
    for entry in &page.entries {
        table.row([
            entry.seq.to_string(),
            entry.at.to_string(),
            entry.actor.clone(),
            entry.action.clone(),
            entry.target.clone(),
            entry.result.clone(),
        ]);
    }
    table.render() + &more(page.next_cursor.as_ref())
}
