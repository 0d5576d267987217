//! From what a person types to a pod or a container: an id, a name, or the beginning of an id.

use super::{
    connection::Engine,
    error::{Answer as _, Error},
};
use crate::wire::{
    Container, ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandbox, PodSandboxState,
};

/// One thing that could be meant.
struct Candidate<'a> {
    id: &'a str,
    name: &'a str,
    /// The name of what it is in (a pod's namespace, a container's pod); `PARENT/NAME` means it too.
    parent: &'a str,
    /// Of several things of one name, the live one is meant.
    live: bool,
}

/// All pods.
pub(super) async fn pods(engine: &mut Engine) -> Result<Vec<PodSandbox>, Error> {
    Ok(engine.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.during("list pods")?.items)
}

/// All containers.
pub(super) async fn containers(engine: &mut Engine) -> Result<Vec<Container>, Error> {
    let request = ListContainersRequest::default();
    Ok(engine.runtime.list_containers(request).await.during("list containers")?.containers)
}

/// The name of a container, as its pod gives it.
pub(super) fn container_name(container: &Container) -> &str {
    container.metadata.as_ref().map_or("", |metadata| &metadata.name)
}

/// The name of a pod.
pub(super) fn pod_name(pod: &PodSandbox) -> &str {
    pod.metadata.as_ref().map_or("", |metadata| &metadata.name)
}

/// The name of the pod with this id; empty when it is gone.
pub(super) fn name_of_pod<'a>(pods: &'a [PodSandbox], id: &str) -> &'a str {
    pods.iter().find(|pod| pod.id == id).map_or("", pod_name)
}

/// The first digits of an id, as tables show it.
pub(super) fn short(id: &str) -> String {
    id.chars().take(13).collect()
}

/// An image's name as it is; a digest without its algorithm and shortened.
pub(super) fn short_digest(image: &str) -> String {
    image.strip_prefix("sha256:").map_or_else(|| image.to_owned(), short)
}

/// The pod that is meant.
pub(super) async fn pod(engine: &mut Engine, given: &str) -> Result<PodSandbox, Error> {
    let mut pods = pods(engine).await?;
    let candidates: Vec<Candidate<'_>> = pods
        .iter()
        .map(|pod| Candidate {
            id: &pod.id,
            name: pod_name(pod),
            parent: pod.metadata.as_ref().map_or("", |metadata| &metadata.namespace),
            live: pod.state() == PodSandboxState::SandboxReady,
        })
        .collect();
    let index = pick("pod", given, &candidates)?;
    Ok(pods.swap_remove(index))
}

/// The container that is meant.
pub(super) async fn container(engine: &mut Engine, given: &str) -> Result<Container, Error> {
    let pods = pods(engine).await?;
    let mut containers = containers(engine).await?;
    let candidates: Vec<Candidate<'_>> = containers
        .iter()
        .map(|container| Candidate {
            id: &container.id,
            name: container_name(container),
            parent: name_of_pod(&pods, &container.pod_sandbox_id),
            live: container.state() == ContainerState::ContainerRunning,
        })
        .collect();
    let index = pick("container", given, &candidates)?;
    Ok(containers.swap_remove(index))
}

/// Index of the one candidate that is meant. A full id wins over a name, a name over the beginning of an id.
fn pick(kind: &'static str, given: &str, candidates: &[Candidate<'_>]) -> Result<usize, Error> {
    let indices = |matches: &dyn Fn(&Candidate<'_>) -> bool| -> Vec<usize> {
        candidates.iter().enumerate().filter(|(_, candidate)| matches(candidate)).map(|(index, _)| index).collect()
    };
    let named = |candidate: &Candidate<'_>| {
        candidate.name == given
            || given.strip_prefix(candidate.parent).and_then(|rest| rest.strip_prefix('/')) == Some(candidate.name)
    };
    let searches: [&dyn Fn(&Candidate<'_>) -> bool; 4] =
        [&|candidate| candidate.id == given, &|candidate| named(candidate) && candidate.live, &named, &|candidate| {
            !given.is_empty() && candidate.id.starts_with(given)
        }];
    for search in searches {
        match *indices(search) {
            [] => {}
            [one] => return Ok(one),
            ref many => {
                let matches = many.iter().map(|&index| candidates[index].id.to_owned()).collect();
                return Err(Error::Ambiguous { kind, given: given.to_owned(), matches });
            }
        }
    }
    Err(Error::NoSuch { kind, given: given.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: [Candidate<'static>; 4] = [
        Candidate { id: "abc1", name: "web", parent: "front", live: true },
        Candidate { id: "abc2", name: "web", parent: "front", live: false },
        Candidate { id: "def3", name: "db", parent: "back", live: true },
        Candidate { id: "0123", name: "abc", parent: "back", live: false },
    ];

    #[test]
    fn ids_names_and_prefixes_are_found_in_this_order() {
        for (given, index) in [("abc2", 1), ("web", 0), ("front/web", 0), ("abc", 3), ("d", 2), ("back/db", 2)] {
            assert_eq!(pick("container", given, &THINGS).expect(given), index, "{given}");
        }
    }

    #[test]
    fn doubt_is_an_error() {
        assert!(
            matches!(pick("container", "ab", &THINGS), Err(Error::Ambiguous { matches, .. }) if matches.len() == 2)
        );
        for nothing in ["", "zzz", "front/db", "/web"] {
            assert!(matches!(pick("container", nothing, &THINGS), Err(Error::NoSuch { .. })), "{nothing:?}");
        }
    }
}
