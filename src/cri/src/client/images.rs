//! The image half of the wire.

use futures::FutureExt;
use tonic::Response;

use super::{CALL, Client, PULL, error};
use crate::api;
use crate::{CriError, Images, Reply};

impl Images for Client {
    fn image_status(&self, image: String) -> Reply<'_, Option<api::Image>> {
        let request = api::ImageStatusRequest { image: Some(spec(image)), verbose: false };
        call!(self.images.image_status(request), CALL, |answer: api::ImageStatusResponse| Ok(answer.image))
    }

    fn list_images(&self) -> Reply<'_, Vec<api::Image>> {
        call!(
            self.images.list_images(api::ListImagesRequest { filter: None }),
            CALL,
            |answer: api::ListImagesResponse| Ok(answer.images)
        )
    }

    fn pull_image(
        &self,
        image: String,
        auth: Option<api::AuthConfig>,
        sandbox: api::PodSandboxConfig,
    ) -> Reply<'_, String> {
        let request = api::PullImageRequest { image: Some(spec(image)), auth, sandbox_config: Some(sandbox) };
        call!(self.images.pull_image(request), PULL, |answer: api::PullImageResponse| Ok(answer.image_ref))
    }

    fn remove_image(&self, image: String) -> Reply<'_, ()> {
        call!(self.images.remove_image(api::RemoveImageRequest { image: Some(spec(image)) }), CALL, |_| Ok(()))
    }

    fn image_fs_info(&self) -> Reply<'_, Vec<api::FilesystemUsage>> {
        call!(self.images.image_fs_info(api::ImageFsInfoRequest {}), CALL, |answer: api::ImageFsInfoResponse| Ok(
            answer.image_filesystems
        ))
    }
}

fn spec(image: String) -> api::ImageSpec {
    api::ImageSpec { user_specified_image: image.clone(), image, ..Default::default() }
}
