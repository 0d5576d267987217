//! `berth image ls`

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::{
        Session,
        error::{Answer as _, Error},
        json, lookup, print,
        table::Table,
        units,
    },
    wire::{Image, ListImagesRequest},
};

/// List images.
#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Digests too
    #[arg(long)]
    digests: bool,
}

impl Ls {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let request = ListImagesRequest::default();
        let mut images = session.engine.image.list_images(request).await.during("list images")?.images;
        images.sort_by(|a, b| (&a.repo_tags, &a.repo_digests, &a.id).cmp(&(&b.repo_tags, &b.repo_digests, &b.id)));
        if session.json {
            json::print(&json::array(&images))?;
        } else if self.quiet {
            let ids: String = images.iter().map(|image| format!("{}\n", image.id)).collect();
            print(ids.as_bytes())?;
        } else {
            table(&images, self.digests).print()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A row for every name of every image.
fn table(images: &[Image], digests: bool) -> Table {
    let mut header = vec!["IMAGE", "TAG", "IMAGE ID", "SIZE"];
    if digests {
        header.push("DIGEST");
    }
    let mut table = Table::new(&header);
    for image in images {
        let id = lookup::short_digest(&image.id);
        let size = units::bytes(image.size);
        let row = |repository: &str, tag: &str| {
            let mut row = vec![repository.to_owned(), tag.to_owned(), id.clone(), size.clone()];
            if digests {
                row.push(digest_of(image, repository).to_owned());
            }
            row
        };
        for (repository, tag) in image.repo_tags.iter().filter_map(|name| name.rsplit_once(':')) {
            table.row(row(repository, tag));
        }
        if image.repo_tags.is_empty() {
            let name = image.repo_digests.first().and_then(|name| name.split_once('@'));
            table.row(row(name.map_or("<none>", |(repository, _)| repository), "<none>"));
        }
    }
    table
}

fn digest_of<'a>(image: &'a Image, repository: &str) -> &'a str {
    let digest = |name: &'a String| name.split_once('@').filter(|(of, _)| *of == repository).map(|(_, digest)| digest);
    image.repo_digests.iter().find_map(digest).unwrap_or("<none>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_row() {
        let image = |tags: &[&str], digests: &[&str]| Image {
            id: format!("sha256:{}", "a".repeat(64)),
            repo_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            repo_digests: digests.iter().map(|&digest| digest.to_owned()).collect(),
            size: 1_980_000,
            ..Default::default()
        };
        let images = [
            image(&["localhost:5000/a:1", "b:latest"], &["localhost:5000/a@sha256:11"]),
            image(&[], &["c@sha256:22"]),
            image(&[], &[]),
        ];
        assert_eq!(
            table(&images, true).text(),
            "IMAGE              TAG      IMAGE ID        SIZE     DIGEST\n\
             localhost:5000/a   1        aaaaaaaaaaaaa   1.98MB   sha256:11\n\
             b                  latest   aaaaaaaaaaaaa   1.98MB   <none>\n\
             c                  <none>   aaaaaaaaaaaaa   1.98MB   sha256:22\n\
             <none>             <none>   aaaaaaaaaaaaa   1.98MB   <none>\n"
        );
    }
}
