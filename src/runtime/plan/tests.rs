//! Whole plans, as they follow from requests.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, LinuxNamespaceType, Spec};

use super::{host::tests::facts, *};
use crate::{
    error::{Classify as _, Kind},
    runtime::{cdi, error::PlanError},
    types::{
        ContainerConfig, Id, IdMapping, ImageSpec, Mount, NamespaceMode, PodConfig, Profile, Propagation, UserNamespace,
    },
};

mod named_devices;

/// A made-up request; `change` makes it the one of the test.
fn planned(
    change: impl FnOnce(&mut PodConfig, &mut ContainerConfig, &mut ImageDefaults),
) -> Result<ContainerPlan, PlanError> {
    planned_with(&cdi::Edits::default(), change)
}

/// The same, with devices by name.
fn planned_with(
    edits: &cdi::Edits,
    change: impl FnOnce(&mut PodConfig, &mut ContainerConfig, &mut ImageDefaults),
) -> Result<ContainerPlan, PlanError> {
    let id = Id::from_bytes([1; 32]);
    let mut pod = PodConfig { hostname: "web-1".to_owned(), ..PodConfig::default() };
    let mut config = ContainerConfig::default();
    let mut image = ImageDefaults {
        env: vec!["PATH=/opt/bin".to_owned(), "A=image".to_owned(), "broken".to_owned()],
        entrypoint: vec!["/entry".to_owned()],
        cmd: vec!["serve".to_owned()],
        working_dir: "/srv".to_owned(),
        user: "www".to_owned(),
    };
    change(&mut pod, &mut config, &mut image);
    let image_mounts = config.mounts.iter().enumerate().filter(|(_, mount)| mount.image.is_some());
    let image_mounts =
        image_mounts.map(|(index, _)| ImageMount { index, lower: vec![PathBuf::from("/layers/x")] }).collect();
    container(&ContainerRequest {
        id: &id,
        pod_id: &id,
        pod: &pod,
        config: &config,
        image: &image,
        rootfs: RootfsPlan {
            lower: vec!["/layers/1".into()],
            upper: "/c/upper".into(),
            work: "/c/work".into(),
            fixed_projects: true,
        },
        pod_dir: Path::new("/run/pod"),
        image_mounts,
        cdi: edits,
        cgroup: "/pod1/c1".to_owned(),
        target_pid: None,
        selinux_level: "",
        host: &facts(),
    })
}

fn own(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn bind(host: &str, container: &str) -> Mount {
    Mount { host_path: host.to_owned(), container_path: container.to_owned(), ..Mount::default() }
}

#[test]
fn commands_and_arguments_replace_the_images_as_kubernetes_says() {
    for (command, args, expected) in [
        (&[][..], &[][..], &["/entry", "serve"][..]),
        (&[], &["x"], &["/entry", "x"]),
        (&["/own"], &[], &["/own"]),
        (&["/own"], &["x"], &["/own", "x"]),
    ] {
        let plan = planned(|_, config, _| (config.command, config.args) = (own(command), own(args)));
        assert_eq!(plan.expect("planned").process.args, own(expected), "{command:?} {args:?}");
    }
    let none = planned(|_, _, image| (image.entrypoint, image.cmd) = (Vec::new(), Vec::new()));
    assert!(matches!(none, Err(PlanError::NoCommand)));
}

#[test]
fn each_variable_is_there_once_and_the_last_one_wins() {
    let plan = planned(|_, config, _| {
        config.tty = true;
        config.envs = [("B", "1"), ("A", "container"), ("B", "2"), ("TERM", "dumb"), ("AB", "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    });
    let expected = ["PATH=/opt/bin", "TERM=dumb", "HOSTNAME=web-1", "A=container", "B=2", "AB=3"];
    assert_eq!(plan.expect("planned").process.env, own(&expected));
}

#[test]
fn working_directories_are_absolute() {
    assert_eq!(planned(|_, _, _| ()).expect("planned").process.cwd, "/srv");
    let plan = planned(|_, config, _| config.working_dir = "/own".to_owned());
    assert_eq!(plan.expect("planned").process.cwd, "/own");
    let error = planned(|_, config, _| config.working_dir = "own".to_owned()).expect_err("relative");
    assert_eq!(error.kind(), Kind::InvalidArgument);
}

fn targets(plan: &ContainerPlan) -> Vec<&str> {
    plan.mounts.iter().map(|mount| mount.target.as_str()).collect()
}

const FILE_SYSTEMS: [&str; 6] = ["/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys", "/sys/fs/cgroup"];

#[test]
fn outer_mounts_come_before_inner_ones_and_ours_before_the_requests() {
    let plan = planned(|_, config, _| {
        config.mounts = vec![bind("/h/1", "/data/deep/inner/"), bind("/h/2", "/data//./deep"), bind("/h/3", "/data")];
    });
    let plan = plan.expect("planned");
    let binds =
        ["/data", "/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/data/deep", "/data/deep/inner"];
    assert_eq!(targets(&plan), [&FILE_SYSTEMS[..], &binds].concat());
}

#[test]
fn a_mount_of_the_request_replaces_ours() {
    let plan = planned(|_, config, _| config.mounts = vec![bind("/h", "/sys/"), bind("/h", "/etc/hosts")]);
    let plan = plan.expect("planned");
    assert_eq!(targets(&plan).iter().filter(|target| **target == "/sys").count(), 1);
    assert_eq!(targets(&plan).iter().filter(|target| **target == "/etc/hosts").count(), 1);
    let plan = planned(|_, config, _| config.mounts = vec![bind("/dev", "/dev")]).expect("planned");
    let binds = ["/dev", "/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
    assert_eq!(targets(&plan), [&["/proc", "/sys", "/sys/fs/cgroup"][..], &binds].concat());
}

#[test]
fn mounts_that_contradict_themselves_are_refused() {
    let image = || Mount {
        container_path: "/models".to_owned(),
        image: Some(ImageSpec::default()),
        readonly: true,
        ..Mount::default()
    };
    assert!(planned(|_, config, _| config.mounts = vec![image()]).is_ok());
    let recursive = Mount { readonly: true, recursive_read_only: true, ..bind("/h", "/x") };
    assert!(planned(|_, config, _| config.mounts = vec![recursive.clone()]).is_ok());
    for (mount, what) in [
        (bind("/h", "/"), "the root"),
        (bind("/h", "//."), "the root, otherwise written"),
        (bind("/h", "relative"), "a relative target"),
        (bind("/h", "/a/../b"), "steps back"),
        (bind("relative", "/x"), "a relative source"),
        (bind("/h/../..", "/x"), "steps back on the host"),
        (bind("", "/x"), "no source"),
        (Mount { readonly: false, ..recursive.clone() }, "recursive but not read-only"),
        (Mount { propagation: Propagation::HostToContainer, ..recursive.clone() }, "recursive and propagated"),
        (Mount { propagation: Propagation::Bidirectional, ..recursive }, "recursive and propagated both ways"),
        (Mount { readonly: false, ..image() }, "a writable image"),
        (Mount { host_path: "/h".to_owned(), ..image() }, "two sources"),
        (Mount { image_sub_path: "a/../../b".to_owned(), ..image() }, "out of the image"),
    ] {
        let error = planned(|_, config, _| config.mounts = vec![mount]).expect_err(what);
        assert_eq!(error.kind(), Kind::InvalidArgument, "{what}");
    }
}

#[test]
fn privileged_containers_have_no_masks_no_filter_and_all_devices() {
    let plan = planned(|_, config, _| {
        config.security.masked_paths = own(&["/proc/kcore"]);
        config.security.readonly_paths = own(&["/proc/sys"]);
        config.security.seccomp = Some(Profile::RuntimeDefault);
        config.security.privileged = true;
    });
    let plan = plan.expect("planned");
    assert!(plan.masked_paths.is_empty() && plan.readonly_paths.is_empty());
    assert!(plan.confinement.seccomp.is_none());
    let flags =
        |target: &str| plan.mounts.iter().find(|mount| mount.target == target).map(|mount| mount.flags.readonly);
    assert_eq!((flags("/sys"), flags("/sys/fs/cgroup")), (Some(ReadOnly::No), Some(ReadOnly::No)));
    assert!(plan.devices.iter().any(|device| device.path == Path::new("/dev/null")));
    assert!(!plan.devices.iter().any(|device| device.path.starts_with("/dev/pts")));
}

#[test]
fn nil_and_unconfined_are_no_filter_and_the_default_is_one() {
    let filter = |profile| {
        let plan = planned(|_, config, _| config.security.seccomp = profile).expect("planned");
        plan.confinement.seccomp.is_some()
    };
    assert!(!filter(None) && !filter(Some(Profile::Unconfined)) && filter(Some(Profile::RuntimeDefault)));
}

#[test]
fn projects_of_files_are_guarded_where_the_kernel_does_not_do_it() {
    let guarded = |change: fn(&mut PodConfig, &mut ContainerConfig)| {
        let plan = planned(|pod, config, _| change(pod, config)).expect("planned");
        plan.confinement.project_guard.is_some()
    };
    assert!(guarded(|_, _| ()), "also without a filter of its own");
    assert!(guarded(|_, config| config.security.seccomp = Some(Profile::RuntimeDefault)));
    assert!(!guarded(|_, config| config.security.privileged = true));
    assert!(!guarded(|pod, _| pod.namespaces.user = user_namespace(&[(0, 100_000, 65_536)])));
}

#[test]
fn pid_namespaces_fit_the_pods() {
    let mode = |pod_mode, mode| {
        planned(|pod, config, _| {
            pod.namespaces.pid = pod_mode;
            config.security.namespaces.pid = mode;
        })
        .map(|plan| plan.pid)
    };
    use NamespaceMode::{Container, Node, Pod, Target};
    assert_eq!(mode(Container, Container).expect("own"), PidNamespace::Own);
    assert_eq!(mode(Pod, Pod).expect("pod"), PidNamespace::Pod);
    assert_eq!(mode(Node, Node).expect("node"), PidNamespace::Host);
    assert_eq!(mode(Node, Pod).expect("node"), PidNamespace::Host);
    assert!(matches!(mode(Container, Pod), Err(PlanError::NoSharedPid)));
    assert!(matches!(mode(Container, Target), Err(PlanError::NoTarget(_))));
}

fn user_namespace(lines: &[(u32, u32, u32)]) -> Option<UserNamespace> {
    let map: Vec<IdMapping> =
        lines.iter().map(|&(container_id, host_id, length)| IdMapping { host_id, container_id, length }).collect();
    Some(UserNamespace { mode: NamespaceMode::Pod, uids: map.clone(), gids: map })
}

#[test]
fn id_maps_are_checked() {
    let pod_with = |user| {
        let mut config = PodConfig::default();
        config.namespaces.user = user;
        pod(&Id::from_bytes([1; 32]), Path::new("/run/pod"), &config, &facts())
    };
    let plan = pod_with(user_namespace(&[(0, 100_000, 65_536)])).expect("planned");
    assert_eq!(plan.user.map(|maps| maps.root()), Some((100_000, 100_000)));
    for bad in [
        &[][..],
        &[(0, 1000, 0)],
        &[(1, 1000, 10)],
        &[(0, u32::MAX, 2)],
        &[(0, 1000, 10), (5, 2000, 10)],
        &[(0, 1000, 10), (10, 1009, 10)],
    ] {
        assert!(matches!(pod_with(user_namespace(bad)), Err(PlanError::InvalidIdMap(_))), "{bad:?}");
    }
    let mut container = user_namespace(&[(0, 1000, 10)]);
    if let Some(user) = &mut container {
        user.mode = NamespaceMode::Container;
    }
    assert!(pod_with(container).is_err());
}

#[test]
fn in_a_user_namespace_mounts_are_mapped_as_the_pod_is() {
    let idmap = |map: Option<Vec<IdMapping>>| {
        planned(|pod, config, _| {
            pod.namespaces.user = user_namespace(&[(0, 100_000, 65_536)]);
            let maps = map.unwrap_or_default();
            config.mounts = vec![Mount { uid_mappings: maps.clone(), gid_mappings: maps, ..bind("/h", "/data") }];
        })
        .map(|plan| {
            match &plan.mounts.iter().find(|mount| mount.target == "/data").map(|mount| mount.source.clone()) {
                Some(MountSource::Bind(bind)) => bind.idmap,
                other => panic!("{other:?}"),
            }
        })
    };
    let line = |host_id| vec![IdMapping { host_id, container_id: 0, length: 65_536 }];
    assert_eq!(idmap(None).expect("planned"), IdMap::Preferred);
    assert_eq!(idmap(Some(line(100_000))).expect("planned"), IdMap::Required);
    assert!(matches!(idmap(Some(line(200_000))), Err(PlanError::IdMappedMount(_))));
}

#[test]
fn plans_survive_the_wire_and_tolerate_the_unknown() {
    let plan = planned(|_, config, _| {
        config.security.seccomp = Some(Profile::RuntimeDefault);
        config.mounts = vec![bind("/h", "/data")];
    });
    let plan = plan.expect("planned");
    let mut json = serde_json::to_value(&plan).expect("encoded");
    assert_eq!(serde_json::from_value::<ContainerPlan>(json.clone()).expect("decoded"), plan);
    json["a_field_of_a_later_version"] = serde_json::json!({"x": [1]});
    json.as_object_mut().expect("object").remove("volatile");
    let older = serde_json::from_value::<ContainerPlan>(json).expect("decoded");
    assert_eq!(older, ContainerPlan { volatile: false, ..plan });
}

#[test]
fn an_exec_inherits() {
    let plan = planned(|_, config, _| config.security.no_new_privs = true).expect("planned");
    let exec = exec(&plan, &own(&["ls", "-l"]), true);
    assert_eq!(exec.process.args, own(&["ls", "-l"]));
    assert_eq!(exec.process.cwd, "/srv");
    assert_eq!(exec.process.env, [plan.process.env.clone(), own(&["TERM=xterm"])].concat());
    assert_eq!((exec.confinement, exec.cgroup), (plan.confinement, "/pod1/c1".to_owned()));
}

#[test]
fn absurd_requests_are_refused_as_the_callers_fault() {
    let long = "x".repeat(5000);
    for (what, result) in [
        ("oom score", planned(|_, config, _| config.resources.oom_score_adj = 1001)),
        ("user id", planned(|_, config, _| config.security.run_as_user = Some(-1))),
        ("groups", planned(|_, config, _| config.security.supplemental_groups = vec![1; 5000])),
        ("NUL", planned(|_, config, _| config.args = own(&["a\0b"]))),
        ("NUL in a variable", planned(|_, config, _| config.envs = vec![("A".to_owned(), "\0".to_owned())])),
        ("long path", planned(|_, config, _| config.mounts = vec![bind(&format!("/{long}"), "/x")])),
        ("masked path", planned(|_, config, _| config.security.masked_paths = own(&["relative"]))),
        ("capability", planned(|_, config, _| config.security.add_capabilities = own(&["NOPE"]))),
    ] {
        assert_eq!(result.expect_err(what).kind(), Kind::InvalidArgument, "{what}");
    }
    let device = crate::types::DeviceRequest {
        host_path: "/etc/passwd".to_owned(),
        container_path: "/dev/x".to_owned(),
        permissions: "rw".to_owned(),
    };
    let file = planned(|_, config, _| config.devices = vec![device.clone()]);
    assert!(matches!(file, Err(PlanError::NotADevice(_))));
    let mut nowhere = device.clone();
    nowhere.host_path = "/dev/no-such-device".to_owned();
    let missing = planned(|_, config, _| config.devices = vec![nowhere]).expect_err("missing");
    assert_eq!(missing.kind(), Kind::InvalidArgument);
    let mut letters = device;
    (letters.host_path, letters.permissions) = ("/dev/null".to_owned(), "rx".to_owned());
    let result = planned(|_, config, _| config.devices = vec![letters]);
    assert!(matches!(result, Err(PlanError::InvalidDevicePermissions(_))));
}

#[test]
fn plans_are_told_as_oci_specifications() {
    let mut pod = PodConfig { hostname: "web-1".to_owned(), ..PodConfig::default() };
    let plan = planned(|pod, config, _| {
        pod.namespaces.ipc = NamespaceMode::Node;
        config.mounts.push(Mount { readonly: true, ..bind("/data", "/mnt") });
        config.resources.memory_limit = 1 << 20;
    });
    pod.namespaces.ipc = NamespaceMode::Node;
    let json = container_spec(&plan.expect("a plan"), &pod, Path::new("/run/pod"));
    let spec: Spec = serde_json::from_value(json).expect("a specification");
    let process = spec.process().as_ref().expect("a process");
    assert_eq!(process.args().as_deref(), Some(&["/entry".to_owned(), "serve".to_owned()][..]));
    assert_eq!(process.user().username().as_deref(), Some("www"));
    let bounding = process.capabilities().as_ref().and_then(|sets| sets.bounding().as_ref());
    assert!(bounding.is_some_and(|set| set.contains(&Capability::Chown)), "{bounding:?}");
    let mounts = spec.mounts().as_ref().expect("mounts");
    let data = mounts.iter().find(|mount| mount.destination() == Path::new("/mnt")).expect("the mount");
    assert_eq!(data.source().as_deref(), Some(Path::new("/data")));
    assert!(data.options().as_ref().is_some_and(|options| options.contains(&"ro".to_owned())), "{data:?}");
    let linux = spec.linux().as_ref().expect("linux");
    let namespaces = linux.namespaces().as_ref().expect("namespaces");
    let named: Vec<_> = namespaces.iter().map(|it| (it.typ(), it.path().clone())).collect();
    assert!(named.contains(&(LinuxNamespaceType::Network, Some("/run/pod/ns/net".into()))), "{named:?}");
    assert!(!named.iter().any(|(kind, _)| *kind == LinuxNamespaceType::Ipc), "that of the host: {named:?}");
    let memory = linux.resources().as_ref().and_then(|resources| resources.memory().as_ref());
    assert_eq!(memory.and_then(|memory| memory.limit()), Some(1 << 20));

    let json = pod_spec(&pod, Path::new("/run/pod"), "/pod1");
    let spec: Spec = serde_json::from_value(json).expect("a specification");
    assert_eq!(spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone()), Some("/pod1".into()));
}
