//! Requests that make no sense: each is refused with the right code and a sentence, and leaves nothing behind.

use berth::wire::*;
use tonic::Code;

use crate::support::{Daemon, container, eventually, pod, refusal, security};

/// Runs the pod and expects a refusal.
async fn refused_pod(daemon: &Daemon, config: Option<PodSandboxConfig>, what: &str) -> (Code, String) {
    let request = RunPodSandboxRequest { config, ..Default::default() };
    let answer = refusal(daemon.runtime().run_pod_sandbox(request).await);
    let left = daemon.leftovers();
    assert!(left.mounts.is_empty() && left.files.is_empty(), "{what}: {left:#?}");
    answer
}

#[tokio::test]
async fn pods_that_make_no_sense() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let changed = |change: &dyn Fn(&mut PodSandboxConfig)| {
        let mut config = pod(&daemon, "p");
        change(&mut config);
        Some(config)
    };
    let namespaces = |change: &dyn Fn(&mut NamespaceOption)| {
        changed(&|config| {
            let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            change(security.namespace_options.get_or_insert_default());
        })
    };
    let port = |host_ip: &str, host_port, container_port, protocol| {
        let mapping = PortMapping { protocol, container_port, host_port, host_ip: host_ip.to_owned() };
        changed(&|config| config.port_mappings = vec![mapping.clone()])
    };
    for (config, what) in [
        (None, "no configuration"),
        (changed(&|config| config.metadata = None), "no metadata"),
        (changed(&|config| config.metadata.as_mut().expect("metadata").name.clear()), "no name"),
        (changed(&|config| config.metadata.as_mut().expect("metadata").name = "a\0b".into()), "a NUL in the name"),
        (changed(&|config| config.hostname = "x".repeat(65)), "a host name that the kernel does not take"),
        (changed(&|config| config.hostname = "a/b".into()), "a host name with a slash"),
        (changed(&|config| config.log_directory = "relative".into()), "a relative log directory"),
        (changed(&|config| config.log_directory = "/tmp/../etc".into()), "dots in the log directory"),
        (
            changed(&|config| config.linux.get_or_insert_default().cgroup_parent = "/a/../../b".into()),
            "dots in the cgroup",
        ),
        (
            changed(&|config| {
                config.dns_config = Some(DnsConfig { servers: vec!["not an address".into()], ..Default::default() })
            }),
            "a name server that is none",
        ),
        (
            changed(&|config| {
                config.dns_config =
                    Some(DnsConfig { options: vec!["a\nnameserver 6.6.6.6".into()], ..Default::default() })
            }),
            "a newline in a resolver option",
        ),
        (namespaces(&|options| options.network = 77), "an unknown namespace mode"),
        (namespaces(&|options| options.network = NamespaceMode::Container.into()), "a network per container"),
        (namespaces(&|options| options.ipc = NamespaceMode::Target.into()), "another container's IPC"),
        (port("", -1, 80, 0), "a negative host port"),
        (port("", 70_000, 80, 0), "a host port out of range"),
        (port("", 8080, 0, 0), "no pod port"),
        (port("not-an-address", 8080, 80, 0), "a host address that is none"),
        (port("", 8080, 80, 9), "an unknown protocol"),
    ] {
        let (code, message) = refused_pod(&daemon, config, what).await;
        assert_eq!(code, Code::InvalidArgument, "{what}: {message}");
    }
    let request = RunPodSandboxRequest { config: changed(&|_| {}), runtime_handler: "no-such-handler".into() };
    let (_, message) = refusal(daemon.runtime().run_pod_sandbox(request).await);
    assert!(message.contains("no-such-handler"), "{message}");
    // After all that, the same name still works.
    daemon.run_pod(&pod(&daemon, "p")).await;
}

#[tokio::test]
async fn containers_that_make_no_sense() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let pod_config = pod(&daemon, "p");
    let pod = daemon.run_pod(&pod_config).await;
    let changed = |change: &dyn Fn(&mut ContainerConfig)| {
        let mut config = container("c", &["true"]);
        change(&mut config);
        Some(config)
    };
    for (config, what) in [
        (None, "no configuration"),
        (changed(&|config| config.metadata = None), "no metadata"),
        (changed(&|config| config.metadata.as_mut().expect("metadata").name.clear()), "no name"),
        (changed(&|config| config.image = None), "no image"),
        (changed(&|config| config.image.as_mut().expect("an image").image.clear()), "an empty image"),
        (changed(&|config| config.log_path = "../../../etc/passwd".into()), "a log outside of its directory"),
        (changed(&|config| config.log_path = "/etc/passwd".into()), "an absolute log path"),
        (changed(&|config| config.working_dir = "relative".into()), "a relative working directory"),
        (changed(&|config| config.command = vec!["a\0b".into()]), "a NUL in the command"),
        (
            changed(&|config| config.envs = vec![KeyValue { key: "A=B".into(), value: "x".into() }]),
            "an equals sign in a variable's name",
        ),
        (
            changed(&|config| config.envs = vec![KeyValue { key: String::new(), value: "x".into() }]),
            "a variable without a name",
        ),
        (changed(&|config| config.stop_signal = 999), "an unknown signal"),
        (
            changed(&|config| {
                let profile = SecurityProfile { profile_type: 2, localhost_ref: "relative.json".into() };
                security(config).seccomp = Some(profile);
            }),
            "a relative path of a seccomp profile",
        ),
        (
            changed(&|config| {
                config.devices = vec![Device {
                    host_path: "/etc/passwd".into(),
                    container_path: "/dev/x".into(),
                    permissions: "rwm".into(),
                }]
            }),
            "a device that is a file",
        ),
        (
            changed(&|config| {
                config.devices = vec![Device {
                    host_path: "/dev/null".into(),
                    container_path: "/dev/x".into(),
                    permissions: "x".into(),
                }]
            }),
            "unknown permissions of a device",
        ),
    ] {
        let request =
            CreateContainerRequest { pod_sandbox_id: pod.clone(), config, sandbox_config: Some(pod_config.clone()) };
        let (code, message) = refusal(daemon.runtime().create_container(request).await);
        assert_eq!(code, Code::InvalidArgument, "{what}: {message}");
        // Some are found when there is a layer already, which is thrown away in the background.
        let only_the_pod = async || daemon.leftovers().files.iter().all(|path| path.ends_with(&pod));
        eventually(&format!("nothing is left of {what}"), only_the_pod).await;
    }

    // Found when its layer is made already, which is thrown away in the background.
    let mut unlabelled = container("c", &["true"]);
    let options = SeLinuxOption { level: "nonsense".into(), ..Default::default() };
    security(&mut unlabelled).selinux_options = Some(options);
    let (code, message) = refusal(daemon.try_create(&pod, &unlabelled, &pod_config).await.map(tonic::Response::new));
    assert!(code == Code::InvalidArgument && message.contains("nonsense"), "{code:?}: {message}");

    let no_pod = daemon.try_create(&"0".repeat(64), &container("c", &["true"]), &pod_config).await;
    assert_eq!(refusal(no_pod.map(tonic::Response::new)).0, Code::NotFound);
    let mut unknown = container("c", &["true"]);
    unknown.image.as_mut().expect("an image").image = "no-such-image:latest".into();
    let (code, message) = refusal(daemon.try_create(&pod, &unknown, &pod_config).await.map(tonic::Response::new));
    assert_eq!(code, Code::NotFound);
    assert!(message.contains("no-such-image"), "{message}");
    // After all that, the same name still works.
    daemon.create(&pod, &container("c", &["true"]), &pod_config).await;
}

#[tokio::test]
async fn empty_and_unknown_ids() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let mut runtime = daemon.runtime();
    for (id, code) in [("", Code::InvalidArgument), ("no-such-thing", Code::NotFound), ("../../etc", Code::NotFound)] {
        let container_id = id.to_owned();
        let pod_sandbox_id = id.to_owned();
        let answers = [
            refusal(runtime.pod_sandbox_status(PodSandboxStatusRequest { pod_sandbox_id, verbose: false }).await),
            refusal(
                runtime
                    .container_status(ContainerStatusRequest { container_id: container_id.clone(), verbose: false })
                    .await,
            ),
            refusal(runtime.start_container(StartContainerRequest { container_id: container_id.clone() }).await),
            refusal(
                runtime.reopen_container_log(ReopenContainerLogRequest { container_id: container_id.clone() }).await,
            ),
            refusal(runtime.container_stats(ContainerStatsRequest { container_id: container_id.clone() }).await),
            refusal(daemon.try_exec(id, &["true"], 0).await.map(tonic::Response::new)),
        ];
        for (number, (got, message)) in answers.into_iter().enumerate() {
            assert_eq!(got, code, "request {number} with id {id:?}: {message}");
        }
    }
}

#[tokio::test]
async fn negative_timeouts() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (_, id) = daemon.run_sleeper().await;
    let answer = daemon.try_exec(&id, &["true"], -1).await;
    assert_eq!(refusal(answer.map(tonic::Response::new)).0, Code::InvalidArgument);
    let request = StopContainerRequest { container_id: id.clone(), timeout: -1 };
    assert_eq!(refusal(daemon.runtime().stop_container(request).await).0, Code::InvalidArgument);
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
}

#[tokio::test]
async fn large_labels_are_kept_and_larger_ones_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let with_label = |size: usize| {
        let mut config = pod(&daemon, "p");
        config.labels.insert("large".into(), "x".repeat(size));
        config
    };
    let (code, message) = refused_pod(&daemon, Some(with_label(1 << 20)), "a label of a mebibyte").await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("labels"), "{message}");
    let config = with_label(1 << 18);
    let pod = daemon.run_pod(&config).await;
    assert_eq!(daemon.pod_status(&pod).await.labels, config.labels);
}

#[tokio::test]
async fn an_import_without_or_with_late_options() {
    use berth::berth_wire::{
        ImportImageRequest, ImportOptions, engine_client::EngineClient, import_image_request::Part,
    };
    requires!(Root);
    let daemon = Daemon::start().await;
    let options = || ImportImageRequest { part: Some(Part::Options(ImportOptions::default())) };
    let data = || ImportImageRequest { part: Some(Part::Data(vec![0; 10])) };
    for (messages, what) in [
        (vec![], "nothing"),
        (vec![ImportImageRequest { part: None }], "an empty message"),
        (vec![data(), options()], "options after data"),
        (vec![options(), data(), options()], "options twice"),
    ] {
        let answer = EngineClient::new(daemon.channel()).import_image(tokio_stream::iter(messages)).await;
        assert_eq!(refusal(answer).0, Code::InvalidArgument, "{what}");
    }
}
