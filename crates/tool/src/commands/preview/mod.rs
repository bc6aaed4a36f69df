//! `preview`: a page with the mapping, sample messages and the rows that they become, which follows each change.

mod body;
mod file;
mod messages;
mod outcome;
mod server;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use sqs_to_postgres::aws::Aws;
use tokio::net::TcpListener;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{counted, escaped, line};
use crate::cli::samples::SampleFlags;
use crate::cli::settings::MaskFlags;
use crate::cli::signals::Stop;
use file::MappingFile;
use messages::Messages;
use server::Server;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres preview orders.toml orders.jsonl
  sqs-to-postgres preview orders.toml --queue-name orders-dlq -n 50";

/// Show a page with a mapping, sample messages and their rows, which follows each change of the mapping
///
/// Prints the address of the page, and serves it until Ctrl-C, to programs of this machine that
/// know the address. The page saves the mapping to its file. It shows what explain shows: values
/// are hidden until its switch shows them. Needs no database.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Preview {
    /// File of the mapping, which the page changes
    #[arg(value_name = "MAPPING")]
    mapping: PathBuf,
    #[command(flatten)]
    samples: SampleFlags,
    #[command(flatten)]
    mask: MaskFlags,
}

/// What the page is about.
struct Subject {
    file: MappingFile,
    messages: Messages,
    key: Option<mapping::KeyRing>,
}

impl Preview {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let file = MappingFile::new(self.mapping);
        file.required()?;
        let key = self.mask.keys(&Arc::new(Aws::default())).await?;
        let messages = Messages::read(&self.samples).await?;
        let stop = Stop::on_signal()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let about = format!(
            "{} with {}; Ctrl-C ends the preview",
            escaped(&file.name()),
            counted(messages.all.len(), "message")
        );
        let subject = Subject {
            file,
            messages,
            key,
        };
        let server = Server::new(listener.local_addr()?, subject)?;
        line(&server.url())?;
        eprintln!("{about}");
        // It ends only when it is asked to.
        stop.or_done(server.serve(listener)).await;
        Ok(Outcome::Done)
    }
}
