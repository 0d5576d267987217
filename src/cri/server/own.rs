//! The engine's own service: what the CRI has no word for.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::{
    Door,
    import::import,
    transfer::{Events, archive, watch},
};
use crate::{
    berth_wire::{engine_server::Engine, *},
    cri::convert::image::{registry_auth_from_wire, source_auths_from_wire},
    image::{Platforms, Progress, PushOptions},
};

#[tonic::async_trait]
impl Engine for Door {
    async fn import_image(
        &self,
        request: Request<Streaming<ImportImageRequest>>,
    ) -> Result<Response<ImportImageResponse>, Status> {
        Ok(Response::new(import(self.engine()?.images(), request.into_inner()).await?))
    }

    async fn pull_image(&self, request: Request<PullRequest>) -> Result<Response<Events<TransferEvent>>, Status> {
        let request = request.into_inner();
        let auth = registry_auth_from_wire(request.auth);
        let (pull, progress) = self.engine()?.images().pull_watched(&request.image, auth)?;
        let pull = async move {
            let image = pull.await?;
            Ok(TransferResult { id: image.id.to_string(), ..Default::default() })
        };
        Ok(Response::new(watch(pull, progress)))
    }

    async fn push_image(&self, request: Request<PushRequest>) -> Result<Response<Events<TransferEvent>>, Status> {
        let request = request.into_inner();
        let options = PushOptions {
            image: request.image,
            destination: Some(request.destination).filter(|name| !name.is_empty()),
            platforms: platforms(request.all_platforms),
            auth: registry_auth_from_wire(request.auth),
            sources: source_auths_from_wire(request.sources),
        };
        let (images, progress) = (Arc::clone(self.engine()?.images()), Arc::new(Progress::default()));
        let watched = Arc::clone(&progress);
        let push = async move {
            let pushed = images.push(options, &progress).await?;
            Ok(TransferResult { name: pushed.name, digest: pushed.digest.to_string(), ..Default::default() })
        };
        Ok(Response::new(watch(push, watched)))
    }

    async fn save_images(&self, request: Request<SaveRequest>) -> Result<Response<Events<SaveResponse>>, Status> {
        let SaveRequest { images, all_platforms, sources } = request.into_inner();
        let sources = source_auths_from_wire(sources);
        let (pieces, work) = self.engine()?.images().save(&images, platforms(all_platforms), &sources).await?;
        Ok(Response::new(archive(pieces, work)))
    }

    async fn tag_image(&self, request: Request<TagRequest>) -> Result<Response<TagResponse>, Status> {
        let TagRequest { image, name } = request.into_inner();
        self.engine()?.images().tag(&image, &name).await?;
        Ok(Response::new(TagResponse {}))
    }

    async fn untag_image(&self, request: Request<UntagRequest>) -> Result<Response<UntagResponse>, Status> {
        self.engine()?.images().untag(&request.into_inner().name).await?;
        Ok(Response::new(UntagResponse {}))
    }

    async fn image_history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        let steps = self.engine()?.images().history(&request.into_inner().image).await?;
        let steps = steps.into_iter().map(|step| HistoryStep {
            created: step.created.map_or(0, |created| created.0),
            created_by: step.created_by,
            comment: step.comment,
            size: step.size,
        });
        Ok(Response::new(HistoryResponse { steps: steps.collect() }))
    }

    async fn prune_images(&self, request: Request<PruneRequest>) -> Result<Response<PruneResponse>, Status> {
        let pruned = self.engine()?.images().prune(request.into_inner().all).await?;
        let images = pruned.images.iter().map(|image| PrunedImage {
            id: image.id.to_string(),
            names: image.tags.iter().chain(&image.digests).cloned().collect(),
        });
        Ok(Response::new(PruneResponse { images: images.collect(), reclaimed: pruned.reclaimed }))
    }

    async fn check_images(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let report = self.engine()?.images().check(request.into_inner().repair).await?;
        let findings = report.findings.into_iter().map(|finding| CheckFinding {
            image: finding.image,
            digest: finding.digest.to_string(),
            problem: finding.problem,
            repair: finding.repair,
            remains: finding.remains,
        });
        Ok(Response::new(CheckResponse {
            images: report.images,
            blobs: report.blobs,
            layers: report.layers,
            unsealed: report.unsealed,
            findings: findings.collect(),
        }))
    }

    async fn check_login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let LoginRequest { registry, auth } = request.into_inner();
        let auth = registry_auth_from_wire(auth).unwrap_or_default();
        self.engine()?.images().check_login(&registry, &auth).await?;
        Ok(Response::new(LoginResponse {}))
    }
}

fn platforms(all: bool) -> Platforms {
    if all { Platforms::All } else { Platforms::Host }
}
