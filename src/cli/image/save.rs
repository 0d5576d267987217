//! `berth image save`

use std::{
    fs::{self, File},
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use tonic::Streaming;

use crate::{
    berth_wire::{SaveRequest, SaveResponse},
    cli::{
        Session,
        credentials::AuthFile,
        error::{Answer as _, Error},
    },
};

/// Write images into one archive: a tar that is an OCI layout and at the same time what `docker load` reads.
///
/// Digests stay as they are. Layers whose compressed form was not kept are fetched again from where the image came, with
/// the credentials that are stored for that registry.
#[derive(Debug, Args)]
pub(in crate::cli) struct Save {
    /// File to write; standard output if there is none
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    file: AuthFile,
    /// Save the images for all platforms, not only the one for this host
    #[arg(long)]
    all_platforms: bool,
    /// The images; by a name, the image has that name in the archive, by an id none
    #[arg(required = true)]
    images: Vec<String>,
}

impl Save {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let operation = format!("save {}", self.images.join(", "));
        if self.output.is_none() && io::stdout().is_terminal() {
            let source = io::Error::other("it is a terminal; use --output or a pipe");
            return Err(Error::Write { path: "standard output".into(), source });
        }
        let mut sources = Vec::new();
        for given in &self.images {
            let image = super::find(&mut session.engine, given).await?;
            sources.extend(self.file.of_sources(&image.repo_digests).await);
        }
        let request = SaveRequest { images: self.images, all_platforms: self.all_platforms, sources };
        let pieces = session.engine.own.save_images(request).await.during(operation.as_str())?;
        match self.output {
            None => copy(pieces, &mut io::stdout().lock(), Path::new("standard output"), &operation).await?,
            Some(path) if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) => {
                // A device, a pipe or a link is written to, never replaced.
                let opened = File::options().write(true).truncate(true).open(&path);
                let mut file = opened.map_err(|source| Error::Write { path: path.clone(), source })?;
                copy(pieces, &mut file, &path, &operation).await?;
            }
            Some(path) => {
                // The name is given to a whole archive only.
                let unfinished = path.with_extension(format!("tmp-{}", std::process::id()));
                let saved = write(pieces, &unfinished, &path, &operation).await;
                if saved.is_err() {
                    let _ = fs::remove_file(&unfinished);
                }
                saved?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn write(pieces: Streaming<SaveResponse>, unfinished: &Path, path: &Path, operation: &str) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let mut file = File::create_new(unfinished).map_err(failed)?;
    copy(pieces, &mut file, path, operation).await?;
    fs::rename(unfinished, path).map_err(failed)
}

async fn copy(
    mut pieces: Streaming<SaveResponse>,
    target: &mut impl Write,
    path: &Path,
    operation: &str,
) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    while let Some(piece) = pieces.message().await.map_err(|status| Error::call(operation, status))? {
        target.write_all(&piece.data).map_err(failed)?;
    }
    target.flush().map_err(failed)
}
