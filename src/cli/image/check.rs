//! `berth image check`

use std::process::ExitCode;

use clap::Args;

use crate::{
    berth_wire::CheckRequest,
    cli::{
        Session,
        error::{Answer as _, Error},
        json, print_line,
    },
};

/// Check that all images are whole: blobs by their digests, unpacked layers by what their files looked like.
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// Remove images that are not whole, so that the next pull brings them anew
    #[arg(long)]
    repair: bool,
}

impl Check {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let request = CheckRequest { repair: self.repair };
        let report = session.engine.own.check_images(request).await.during("check images")?;
        let remaining = report.findings.iter().filter(|finding| finding.remains).count();
        if session.json {
            json::print(&json::value(&report))?;
        } else {
            for finding in &report.findings {
                let repair = if finding.repair.is_empty() { String::new() } else { format!(" ({})", finding.repair) };
                print_line(&format!("{}: {}: {}{repair}", finding.image, finding.digest, finding.problem))?;
            }
            let (images, blobs, layers) = (report.images, report.blobs, report.layers);
            print_line(&format!("{images} images: {blobs} blobs and {layers} layers checked, {remaining} broken"))?;
            if report.unsealed > 0 {
                print_line(&format!("{} layers are too new to be checked", report.unsealed))?;
            }
        }
        Ok(if remaining == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
