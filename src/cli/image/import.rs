//! `berth image import`

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{fs::File, io::AsyncReadExt as _, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    berth_wire::{ImportImageRequest, ImportOptions, import_image_request::Part},
    cli::{
        Session,
        error::{Answer as _, Error},
        json, print_line,
    },
};

/// Size of the pieces that are sent, bytes.
const PIECE: usize = 256 * 1024;
/// How many pieces are read ahead of the engine.
const READ_AHEAD: usize = 4;

/// Take images out of an archive, an OCI layout or a docker archive (tar, also compressed), and print their ids.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// Name for the image, instead of the archive's
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// The archive; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The archive, as docker has it
    #[arg(short, long, value_name = "FILE", hide = true, conflicts_with = "file")]
    input: Option<PathBuf>,
}

impl Import {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let path = self.input.unwrap_or(self.file);
        let (archive, size) = open(&path).await?;
        let (sender, pieces) = mpsc::channel(READ_AHEAD);
        let options = Part::Options(ImportOptions { name: self.name });
        let upload = upload(archive, size, options, sender);
        let import = session.engine.own.import_image(ReceiverStream::new(pieces));
        // The upload ends early, without an error, when the engine has seen enough to refuse the archive.
        let (uploaded, answer) = tokio::join!(upload, import);
        let answer = answer.during(format!("import {}", path.display()))?;
        uploaded.map_err(|source| Error::Read { path, source })?;

        if session.json {
            json::print(&json::array(&answer.images))?;
        } else {
            for image in answer.images {
                print_line(format!("{} {}", image.id, image.tags.join(" ")).trim_end())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn open(path: &Path) -> Result<(File, Option<u64>), Error> {
    let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
    let read = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).await.map_err(read)?;
    if path == Path::new("/dev/stdin") && io::stdin().is_terminal() {
        return Err(read(io::Error::other("it is a terminal; name a file or use a pipe")));
    }
    let metadata = file.metadata().await.map_err(read)?;
    if metadata.is_dir() {
        return Err(read(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    // What is not a regular file (a pipe) does not know its size.
    let size = metadata.is_file().then_some(metadata.len());
    Ok((file, size))
}

async fn upload(
    mut archive: File,
    size: Option<u64>,
    options: Part,
    sender: mpsc::Sender<ImportImageRequest>,
) -> std::io::Result<()> {
    let progress = progress_bar(size);
    let mut part = options;
    while sender.send(ImportImageRequest { part: Some(part) }).await.is_ok() {
        let mut piece = Vec::with_capacity(PIECE);
        if (&mut archive).take(PIECE as u64).read_to_end(&mut piece).await? == 0 {
            break;
        }
        progress.inc(piece.len() as u64);
        part = Part::Data(piece);
    }
    progress.finish_and_clear();
    Ok(())
}

/// Drawn on standard error, if that is a terminal.
fn progress_bar(size: Option<u64>) -> ProgressBar {
    let template = match size {
        Some(_) => "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}",
        None => "{spinner} {bytes} {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    size.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style)
}
