//! Saving images, and taking them in again.

use std::process::Command;

use serde_json::Value;

use crate::{
    cli::{berth, code, json, text},
    images::find,
    support::{Archive, Compression, Daemon, Layer, Registry},
};

#[tokio::test]
async fn a_saved_image_is_the_same_when_it_is_loaded() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let second = Layer::new().file("second", 0o644, 0, b"layer");
    let archive = Archive::busybox().with_layer(second, Compression::Zstd);
    // Pulled, so that its layers are not kept.
    let name = registry.push(&archive, "tools", "1").await;
    text(&daemon, &["image", "pull", &name]).await;
    text(&daemon, &["image", "tag", &name, "other.example/tools:2"]).await;
    let before = find(&daemon, &name).await.expect("the image");
    let file = daemon.path("saved.tar").display().to_string();
    text(&daemon, &["image", "save", "-o", &file, &name, "other.example/tools:2"]).await;
    drop(registry);

    text(&daemon, &["image", "rm", &name]).await;
    text(&daemon, &["image", "load", "-i", &file]).await;
    let after = find(&daemon, "other.example/tools:2").await.expect("the image");
    assert_eq!((&after.id, &after.repo_tags), (&before.id, &before.repo_tags));
    let digests = [format!("{}/tools@{}", Registry::ADDRESS, archive.manifest)];
    assert!(digests.iter().all(|digest| after.repo_digests.contains(digest)), "{after:?}");
    // What came from an archive is kept: the same archive comes out again, without any registry.
    let again = daemon.path("again.tar").display().to_string();
    text(&daemon, &["image", "save", "-o", &again, &name, "other.example/tools:2"]).await;
    assert!(std::fs::read(&file).expect("read") == std::fs::read(&again).expect("read"), "another archive");
}

#[tokio::test]
async fn other_tools_read_what_is_saved() {
    requires!(Root, Skopeo);
    let daemon = Daemon::start().await;
    let archive = Archive::busybox();
    daemon.import(archive.oci_layout("tools.example/busybox:1"), "").await.expect("import");
    let file = daemon.path("saved.tar").display().to_string();
    text(&daemon, &["image", "save", "-o", &file, "tools.example/busybox:1"]).await;
    for source in [format!("oci-archive:{file}"), format!("docker-archive:{file}:tools.example/busybox:1")] {
        let output = Command::new("skopeo").args(["inspect", "--config", &source]).output().expect("run skopeo");
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
        let config: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(config["rootfs"], archive.config()["rootfs"], "{source}");
        let copy = daemon.path("copy").display().to_string();
        let copied = Command::new("skopeo").args(["copy", "--quiet", &source, &format!("dir:{copy}")]).output();
        let output = copied.expect("run skopeo");
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::remove_dir_all(copy).expect("remove the copy");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_saved_and_leaves_no_file() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let file = daemon.path("saved.tar");
    let output = berth(&daemon, &["image", "save", "-o", &file.display().to_string(), "no-such-image"]).await;
    assert_eq!(code(&output), 1);
    assert!(!file.exists());
}

#[tokio::test]
async fn the_history_of_an_image_is_told() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let steps = json(&daemon, &["image", "history", "--json", "busybox"]).await;
    assert_eq!(steps.as_array().map(Vec::len), Some(1), "{steps}");
    assert_ne!(steps[0]["size"], "0");
    assert!(text(&daemon, &["image", "history", "busybox"]).await.starts_with("CREATED"));
}
