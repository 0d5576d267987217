//! Fuzz target of the records in the state database.

use std::{path::PathBuf, sync::Arc};

use super::{
    container::{self, Container},
    pod::{self, Pod},
};

/// A pod's record and a container's, in an array. What can be read can be recovered, and is written as it was.
pub(crate) fn record(input: &[u8]) {
    let Ok((pod, container)) = serde_json::from_slice::<(pod::Record, container::Record)>(input) else { return };
    let written = serde_json::to_value((&pod, &container)).expect("can be written");
    let pod = Arc::new(Pod::recovered(pod, PathBuf::from("/nonexistent")));
    let container = Container::recovered(container, Arc::clone(&pod));
    let (pod_view, container_view) = (pod.view(), container.view());
    assert_eq!((&pod_view.id, &container_view.id), (&pod.id, &container.id));
    let recovered = serde_json::to_value((pod.record(), container.record())).expect("can be written");
    // A recovered pod is not ready before its monitor has been found.
    assert_eq!(recovered[1], written[1]);
}
