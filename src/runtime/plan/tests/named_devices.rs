//! What CDI devices add to a plan.

use std::path::Path;

use super::{bind, planned_with};
use crate::runtime::{
    cdi,
    cgroup::Access,
    error::PlanError,
    plan::{MountSource, ReadOnly},
};

#[test]
fn what_cdi_devices_bring_wins_over_the_request() {
    let device = cdi::Device {
        path: "/dev/acme".to_owned(),
        host_path: "/dev/acme-of-host".into(),
        block: true,
        major: 200,
        minor: 3,
        mode: 0o640,
        uid: None,
        gid: Some(9),
        access: Access { read: true, write: false, mknod: false },
    };
    let mount = |target: &str| cdi::Mount {
        source: "/vendor".into(),
        target: target.to_owned(),
        readonly: true,
        recursive_read_only: true,
        nosuid: true,
        ..cdi::Mount::default()
    };
    let edits = cdi::Edits {
        env: vec!["A=vendor".to_owned()],
        devices: vec![device],
        mounts: vec![mount("/data/"), mount("/etc/hosts")],
        groups: vec![44],
        hooks: Vec::new(),
    };
    let plan = planned_with(&edits, |_, config, _| {
        config.mounts = vec![bind("/h/1", "/data"), bind("/h/2", "/data/below")];
        config.envs = vec![("A".to_owned(), "container".to_owned())];
        config.security.run_as_user = Some(1000);
        config.security.supplemental_groups = vec![7];
    });
    let plan = plan.expect("planned");
    assert!(plan.process.env.contains(&"A=vendor".to_owned()), "{:?}", plan.process.env);
    assert_eq!(plan.groups.supplemental, [7, 44]);
    let node = plan.devices.iter().find(|node| node.path == Path::new("/dev/acme")).expect("the node");
    assert_eq!((node.block, node.major, node.minor, node.mode), (true, 200, 3, 0o640));
    assert_eq!((node.uid, node.gid), (1000, 9), "the owner is the container's user, the group the device's");
    let of = |target: &str| plan.mounts.iter().filter(|mount| mount.target == target).collect::<Vec<_>>();
    for target in ["/data", "/etc/hosts"] {
        let [mount] = of(target)[..] else { panic!("{target}: {:?}", of(target)) };
        assert!(matches!(&mount.source, MountSource::Bind(bind) if bind.path == Path::new("/vendor")), "{mount:?}");
        assert!(mount.flags.readonly == ReadOnly::Recursive && mount.flags.nosuid && !mount.flags.nodev);
    }
    assert_eq!(of("/data/below").len(), 1);
    let rules = format!("{:?}", plan.limits);
    assert!(rules.contains("major: Some(200), minor: Some(3)"), "the cgroup does not know the device: {rules}");

    let nowhere = cdi::Edits { mounts: vec![mount("../x")], ..cdi::Edits::default() };
    assert!(matches!(planned_with(&nowhere, |_, _, _| ()), Err(PlanError::InvalidPath { .. })));
}
