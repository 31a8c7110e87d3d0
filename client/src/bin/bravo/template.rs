//! `bravo template`: put, look at, search, delete and try out templates of workflows.

use std::path::{Path, PathBuf};

use bravo_client::json::{PreviewAnswer, RawJson, TemplateAnswer, TemplateListAnswer};
use bravo_client::{Client, Error, proto};
use clap::Subcommand;
use serde::Serialize;

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
    /// Put templates from files; a file's name without .json is the template's
    Apply {
        /// A file, or a folder whose *.json are meant
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// List templates, or search them
    List {
        /// Words to find in name and description; the last one may be the beginning of a word
        #[arg(long, value_name = "WORDS")]
        q: Option<String>,
        /// At most this many
        #[arg(long)]
        limit: Option<u32>,
        /// From the last page
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one template
    Get {
        /// The template
        name: String,
        /// The newest if absent
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// Delete a template with all its versions
    Delete {
        /// The template
        name: String,
    },
    /// Show what a workflow from a template would be with an input, and start none
    Preview {
        /// The template
        name: String,
        /// The workflow's input as JSON
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// The newest if absent
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
}

/// What an apply did with one file.
#[derive(Serialize)]
struct Applied {
    name: String,
    version: u32,
    changed: bool,
}

/// What an apply did.
#[derive(Serialize)]
struct AppliedAll {
    templates: Vec<Applied>,
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    match args.command {
        Command::Apply { paths } => apply(&client, global, &paths).await?,
        Command::List { q, limit, cursor } => {
            let cursor = cursor.unwrap_or_default();
            let list = proto::ListTemplatesRequest { q: q.unwrap_or_default(), limit, cursor, read: None };
            show(global.output, &TemplateListAnswer::from(client.templates(list).await?), listed);
        }
        Command::Get { name, version } => {
            let template = client.template(&name, version).await?;
            let answer = TemplateAnswer::try_from(template).map_err(Error::Refused)?;
            show(global.output, &answer, details);
        }
        Command::Delete { name } => client.delete_template(&name, None).await?,
        Command::Preview { name, input, version } => {
            let preview = client.preview_template(&name, version, input.unwrap_or_default()).await?;
            show(global.output, &PreviewAnswer::from(preview), previewed);
        }
    }
    Ok(())
}

/// Looks at all files before anything is sent; what was done before a refusal is shown all the same.
async fn apply(client: &Client, global: &Global, paths: &[PathBuf]) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(documents(path)?);
    }
    let mut templates = Vec::new();
    let mut refused = None;
    for (name, text) in files {
        match client.put_template(&name, text, None).await {
            Ok(put) => {
                let version = put.template.unwrap_or_default().version;
                templates.push(Applied { name, version, changed: put.changed });
            }
            Err(Error::Refused(mut refusal)) => {
                refusal.detail.insert_str(0, &format!("{name}: "));
                refused = Some(Error::Refused(refusal));
                break;
            }
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    show(global.output, &AppliedAll { templates }, |all| {
        let mut table = Table::new(&["name", "version", "changed"]);
        for applied in &all.templates {
            let changed = if applied.changed { "yes" } else { "no" };
            table.row([applied.name.clone(), applied.version.to_string(), changed.into()]);
        }
        table.render()
    });
    refused.map_or(Ok(()), |error| Err(error.into()))
}

/// Name and text of a file, or of the *.json in a folder, in the order of their names.
fn documents(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let failed = |error: std::io::Error| Failure::Usage(format!("{}: {error}", path.display()));
    if !path.is_dir() {
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let name = name.ok_or_else(|| Failure::Usage(format!("{}: no name for a template", path.display())))?;
        return Ok(vec![(name.to_owned(), text)]);
    }
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json") && !file.is_dir());
    files.sort();
    if files.is_empty() {
        return Err(Failure::Usage(format!("{}: there is no .json file in it", path.display())));
    }
    let documents: Vec<_> = files.iter().map(|file| documents(file)).collect::<Result<_, _>>()?;
    Ok(documents.into_iter().flatten().collect())
}

fn listed(page: &TemplateListAnswer) -> String {
    let mut table = Table::new(&["name", "version", "updated at", "description"]);
    for template in &page.templates {
        let cells = [template.version.to_string(), template.updated_at.to_string(), template.description.clone()];
        table.row([template.name.clone()].into_iter().chain(cells));
    }
    let next = more(page.next_cursor.as_ref());
    table.render() + &next
}

fn details(template: &TemplateAnswer) -> String {
    let text = |value: &Option<RawJson>| or_dash(value.as_ref().map(json));
    fields(&[
        ("name", template.name.clone()),
        ("version", template.version.to_string()),
        ("description", or_dash(template.description.clone())),
        ("language", or_dash(template.language.clone())),
        ("framework", or_dash(template.framework.clone())),
        ("deadline ms", or_dash(template.deadline_ms)),
        ("retention ms", or_dash(template.retention_ms)),
        ("input", text(&template.input)),
        ("parameters", text(&template.parameters)),
        ("tasks", json(&template.tasks)),
        ("on failure", text(&template.on_failure)),
    ])
}

fn previewed(preview: &PreviewAnswer) -> String {
    let mut lines = vec![
        ("name", preview.name.clone()),
        ("version", preview.version.to_string()),
        ("input", json(&preview.input)),
        ("tasks", json(&preview.tasks)),
    ];
    lines.extend(preview.errors.iter().map(|error| ("error", error.to_string())));
    fields(&lines)
}

/// On one line, whatever lines it was written in.
fn json(text: &RawJson) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_slice(&text.0);
    value.map_or_else(|error| error.to_string(), |value| value.to_string())
}
