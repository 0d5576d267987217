//! What a daemon has answered, and its successor must know.

use std::{collections::BTreeMap, path::Path};

use berth::wire::{ContainerState, ImageSpec, ImageStatusRequest, PodSandboxState};

use crate::support::Daemon;

/// What holds at this moment. A call under way takes back what it may change.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// An image that was pulled.
    pub(crate) image: Option<String>,
    /// A pod that is ready, and its address.
    pub(crate) pod: Option<(String, String)>,
    /// Containers, their states, and the processes of those that run.
    pub(crate) containers: BTreeMap<String, (ContainerState, Option<i32>)>,
}

impl Promises {
    /// Notes a container's state.
    pub(crate) fn set(&mut self, container: &str, state: ContainerState, pid: Option<i32>) {
        self.containers.insert(container.to_owned(), (state, pid));
    }

    /// A container may be in any state from now on.
    pub(crate) fn forget(&mut self, container: &str) {
        self.containers.remove(container);
    }

    /// Fails unless the daemon keeps all.
    pub(crate) async fn check(&self, daemon: &Daemon) {
        if let Some(image) = &self.image {
            let spec = ImageSpec { image: image.clone(), ..Default::default() };
            let request = ImageStatusRequest { image: Some(spec), verbose: false };
            let answer = daemon.image().image_status(request).await.expect("ask for the image").into_inner();
            assert!(answer.image.is_some(), "the image is gone");
        }
        if let Some((id, ip)) = &self.pod {
            let status = daemon.pod_status(id).await;
            assert_eq!(status.state(), PodSandboxState::SandboxReady, "{status:#?}");
            assert_eq!(&status.network.expect("a network").ip, ip);
        }
        for (id, (state, pid)) in &self.containers {
            let status = daemon.status(id).await;
            assert_eq!(status.state(), *state, "{status:#?}");
            if let Some(pid) = pid {
                assert_eq!(daemon.container_pid(id).await, *pid);
                assert!(Path::new(&format!("/proc/{pid}")).exists(), "its process has gone");
            }
        }
    }
}
