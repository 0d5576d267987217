use std::path::PathBuf;

use super::*;
use crate::types::{Digest, ExitStatus, Id, Signal, Timestamp};

fn config() -> wire::ContainerConfig {
    wire::ContainerConfig {
        metadata: Some(wire::ContainerMetadata { name: "c".to_owned(), attempt: 1 }),
        image: Some(wire::ImageSpec { image: "sha256:abc".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

fn mount() -> wire::Mount {
    wire::Mount { container_path: "/a//b".to_owned(), host_path: "/h".to_owned(), ..Default::default() }
}

fn view(config: wire::ContainerConfig) -> ContainerView {
    ContainerView {
        id: Id::from_bytes([1; 32]),
        pod_id: Id::from_bytes([2; 32]),
        config: config_from_wire(config).expect("fine").into(),
        state: ContainerState::Exited,
        created_at: Timestamp(10),
        started_at: Some(Timestamp(20)),
        exit: Some(ExitStatus::ended(137, true, Timestamp(30))),
        image_id: Digest::of(b"i"),
        image_ref: "r/i@sha256:1".to_owned(),
        image_name: "r/i:latest".to_owned(),
        log_path: Some(PathBuf::from("/var/log/pods/p/c/0.log")),
        user: Some(User { uid: 5, gid: 6, groups: vec![7] }),
        resources: crate::types::Resources { cpu_shares: 99, ..Default::default() },
        pid: None,
        stop_signal: Signal::TERM,
        cgroup: "/x".to_owned(),
    }
}

#[test]
fn a_status_tells_what_kubelet_needs_to_know() {
    let view = view(wire::ContainerConfig { mounts: vec![mount()], ..config() });
    let status = status_to_wire(&view);
    assert_eq!((status.created_at, status.started_at, status.finished_at), (10, 20, 30));
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    assert_eq!(status.image.map(|image| image.image), Some("r/i:latest".to_owned()));
    assert_eq!((status.image_ref.as_str(), status.image_id), ("r/i@sha256:1", Digest::of(b"i").to_string()));
    assert_eq!(status.mounts, [mount()]);
    assert_eq!(status.log_path, "/var/log/pods/p/c/0.log");
    let shares = status.resources.and_then(|resources| resources.linux).map(|linux| linux.cpu_shares);
    assert_eq!(shares, Some(99), "the limits in force, not those at creation");
    let user = status.user.and_then(|user| user.linux).expect("told");
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (5, 6, vec![7]));
    assert_eq!(status.stop_signal, wire::Signal::Sigterm as i32);
}

#[test]
fn a_list_shows_the_image_as_it_was_asked_for() {
    let item = item_to_wire(&view(config()));
    assert_eq!(item.image, config().image);
    assert_eq!((item.state, item.metadata), (2, config().metadata));
    assert_eq!(item.image_id, Digest::of(b"i").to_string());
}

#[test]
fn malformed_containers_are_refused_in_a_sentence() {
    let variable = |key: &str| wire::KeyValue { key: key.to_owned(), value: "v".to_owned() };
    let device = |permissions: &str| wire::Device {
        container_path: "/dev/x".to_owned(),
        host_path: "/dev/x".to_owned(),
        permissions: permissions.to_owned(),
    };
    let cases = [
        (wire::ContainerConfig { metadata: None, ..config() }, "metadata is missing"),
        (wire::ContainerConfig { image: None, ..config() }, "image is missing"),
        (wire::ContainerConfig { image: Some(wire::ImageSpec::default()), ..config() }, "image.image is empty"),
        (
            wire::ContainerConfig { args: vec!["a".to_owned(), "b\0".to_owned()], ..config() },
            "args[1] is longer than 131071 bytes or contains a NUL",
        ),
        (
            wire::ContainerConfig { working_dir: "x".to_owned(), ..config() },
            "working_dir must be an absolute path, not \"x\"",
        ),
        (wire::ContainerConfig { envs: vec![variable("")], ..config() }, "envs[0].key is empty"),
        (wire::ContainerConfig { envs: vec![variable("a=b")], ..config() }, "envs[0].key contains \"=\": \"a=b\""),
        (
            wire::ContainerConfig {
                mounts: vec![mount(), wire::Mount { container_path: "/../x".to_owned(), ..mount() }],
                ..config()
            },
            "mounts[1].container_path must not contain \"..\": \"/../x\"",
        ),
        (
            wire::ContainerConfig { devices: vec![device("rx")], ..config() },
            "devices[0].permissions must be some of r, w and m, not \"rx\"",
        ),
        (
            wire::ContainerConfig { log_path: "../../etc/passwd".to_owned(), ..config() },
            "log_path must not contain \"..\": \"../../etc/passwd\"",
        ),
        (wire::ContainerConfig { stop_signal: 99, ..config() }, "stop_signal has the unknown value 99"),
        (
            wire::ContainerConfig { labels: [("k".to_owned(), "v".repeat(1 << 20))].into(), ..config() },
            "labels come to 1048577 bytes; at most 524288 are taken",
        ),
    ];
    for (config, sentence) in cases {
        let error = config_from_wire(config).map_err(|error| error.to_string());
        assert_eq!(error, Err(format!("invalid request: {sentence}")));
    }
}
