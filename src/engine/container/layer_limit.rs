//! The limit of a container's writable layer, as it is asked for.

use crate::{
    engine::Error,
    types::{ContainerConfig, PodConfig, Size, container::LAYER_LIMIT},
};

/// What the container's annotation says, or else the pod's: kubelet passes on those of pods alone.
pub(super) fn layer_limit(container: &ContainerConfig, pod: &PodConfig) -> Result<Option<Size>, Error> {
    let asked = container.annotations.get(LAYER_LIMIT).or_else(|| pod.annotations.get(LAYER_LIMIT));
    let size = asked.map(|text| text.parse()).transpose();
    size.map_err(|error| Error::Invalid { what: "annotation", why: format!("{LAYER_LIMIT}: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classify as _, Kind};

    fn asked(container: Option<&str>, pod: Option<&str>) -> Result<Option<Size>, Error> {
        let annotations = |text: Option<&str>| text.map(|text| (LAYER_LIMIT.to_owned(), text.to_owned())).into_iter();
        layer_limit(
            &ContainerConfig { annotations: annotations(container).collect(), ..Default::default() },
            &PodConfig { annotations: annotations(pod).collect(), ..Default::default() },
        )
    }

    #[test]
    fn a_containers_own_annotation_wins_over_its_pods() {
        let size = |text: &str| Some(text.parse().expect("a size"));
        assert_eq!(asked(None, None).expect("none"), None);
        assert_eq!(asked(None, Some("10Gi")).expect("the pod's"), size("10g"));
        assert_eq!(asked(Some("1Gi"), Some("10Gi")).expect("its own"), size("1g"));
        for bad in ["", "much", "-1"] {
            let error = asked(Some(bad), Some("1Gi")).expect_err(bad);
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(error.to_string().contains(LAYER_LIMIT), "{error}");
        }
    }
}
