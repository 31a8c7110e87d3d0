//! `bravo webhook`: put, look at and delete webhooks.

use bravo_client::json::{WebhookAnswer, WebhookListAnswer};
use bravo_client::proto;
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, fields, or_dash, show};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a webhook, or replace it; its secret is shown when it is made, and never again
    Put(Put),
    /// Show one webhook
    Get(Named),
    /// List a project's webhooks
    List(Of),
    /// Delete a webhook; deliveries that wait are dropped
    Delete(Named),
}

#[derive(clap::Args)]
struct Of {
    /// The project; default if absent
    #[arg(long, default_value = "")]
    project: String,
}

#[derive(clap::Args)]
struct Named {
    /// The webhook
    name: String,
    #[command(flatten)]
    of: Of,
}

#[derive(clap::Args)]
struct Put {
    #[command(flatten)]
    named: Named,
    /// Where deliveries go
    #[arg(long)]
    url: String,
    /// An event, such as job.dead or workflow.*; may be repeated
    #[arg(long = "event", value_name = "EVENT", required = true)]
    events: Vec<String>,
    /// Events of jobs in this queue only
    #[arg(long, default_value = "")]
    queue: String,
    /// Deliver nothing new
    #[arg(long)]
    disabled: bool,
    /// A file with what signs the deliveries, whsec_ and base64; - is stdin; made up if absent
    #[arg(long, value_name = "FILE")]
    secret: Option<String>,
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let webhook = match args.command {
        Command::Put(put) => client.put_webhook(put.request()?).await?.webhook.unwrap_or_default(),
        Command::Get(Named { name, of }) => client.webhook(&of.project, &name).await?,
        Command::Delete(Named { name, of }) => return Ok(client.delete_webhook(&of.project, &name).await?),
        Command::List(Of { project }) => {
            show(global.output, &WebhookListAnswer::from(client.webhooks(&project).await?), listed);
            return Ok(());
        }
    };
    show(global.output, &WebhookAnswer::from(webhook), details);
    Ok(())
}

impl Put {
    fn request(self) -> Result<proto::PutWebhookRequest, Failure> {
        let read = |path: &String| {
            let text = crate::workflow::contents(path);
            text.map_err(|error| Failure::Usage(format!("--secret: {path}: {error}")))
        };
        Ok(proto::PutWebhookRequest {
            secret: self.secret.as_ref().map(read).transpose()?.unwrap_or_default().trim().into(),
            project_id: self.named.of.project,
            name: self.named.name,
            url: self.url,
            events: self.events,
            queue: self.queue,
            disabled: self.disabled,
        })
    }
}

fn listed(list: &WebhookListAnswer) -> String {
    let mut table = Table::new(&["name", "events", "queue", "disabled", "url"]);
    for one in &list.webhooks {
        table.row([
            one.name.clone(),
            one.events.join(" "),
            or_dash(one.queue.as_ref()),
            if one.disabled { "yes".into() } else { "no".into() },
            one.url.clone(),
        ]);
    }
    table.render()
}

fn details(webhook: &WebhookAnswer) -> String {
    let mut rows = vec![
        ("name", webhook.name.clone()),
        ("project", webhook.project_id.clone()),
        ("url", webhook.url.clone()),
        ("events", webhook.events.join(" ")),
        ("queue", or_dash(webhook.queue.as_ref())),
        ("disabled", webhook.disabled.to_string()),
        ("version", webhook.version.to_string()),
        ("created at", webhook.created_at.to_string()),
        ("updated at", webhook.updated_at.to_string()),
    ];
    rows.extend(webhook.secret.clone().map(|secret| ("secret", secret)));
    fields(&rows)
}
