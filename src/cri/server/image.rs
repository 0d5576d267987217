//! ImageService.

use tonic::{Request, Response, Status};

use super::{
    Door,
    batch::{Batches, batches},
    image_name, verbose,
};
use crate::{
    cri::{
        convert::{
            image::{auth_from_wire, details, filter_from_wire, to_wire},
            usage::filesystem_to_wire,
        },
        status::pull_failed,
    },
    wire::{image_service_server::ImageService, *},
};

impl Door {
    fn images(&self, filter: Option<ImageFilter>) -> Result<Vec<Image>, Status> {
        let images = self.engine()?.images();
        let found = match filter_from_wire(filter) {
            Some(name) => images.resolve(&name).into_iter().collect(),
            None => images.list(),
        };
        Ok(found.iter().map(|image| to_wire(image)).collect())
    }
}

#[tonic::async_trait]
impl ImageService for Door {
    async fn list_images(&self, request: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        let images = self.images(request.into_inner().filter)?;
        Ok(Response::new(ListImagesResponse { images }))
    }

    async fn stream_images(
        &self,
        request: Request<StreamImagesRequest>,
    ) -> Result<Response<Batches<StreamImagesResponse>>, Status> {
        batches(self.images(request.into_inner().filter)?, |images| StreamImagesResponse { images })
    }

    async fn image_status(
        &self,
        request: Request<ImageStatusRequest>,
    ) -> Result<Response<ImageStatusResponse>, Status> {
        let request = request.into_inner();
        let image = self.engine()?.images().resolve(&image_name(request.image)?);
        let info = verbose(request.verbose, || image.as_ref().map(|image| details(image)));
        Ok(Response::new(ImageStatusResponse { image: image.map(|image| to_wire(&image)), info }))
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Result<Response<PullImageResponse>, Status> {
        let request = request.into_inner();
        let (name, auth) = (image_name(request.image)?, auth_from_wire(request.auth));
        let image = self.engine()?.images().pull(&name, auth).await.map_err(|error| pull_failed(&error))?;
        Ok(Response::new(PullImageResponse { image_ref: image.id.to_string() }))
    }

    async fn remove_image(
        &self,
        request: Request<RemoveImageRequest>,
    ) -> Result<Response<RemoveImageResponse>, Status> {
        let name = image_name(request.into_inner().image)?;
        self.engine()?.images().remove(&name).await?;
        Ok(Response::new(RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _request: Request<ImageFsInfoRequest>,
    ) -> Result<Response<ImageFsInfoResponse>, Status> {
        let usage = self.awaited_engine().await?.images().usage().await?;
        Ok(Response::new(ImageFsInfoResponse {
            image_filesystems: vec![filesystem_to_wire(&usage.images)],
            container_filesystems: vec![filesystem_to_wire(&usage.containers)],
        }))
    }
}
