//! Mounts. They go in and out verbatim: kubelet compares the strings.

use super::{
    check::{Invalid, absolute_path, each, enumeration, relative_path},
    image,
};
use crate::{
    types::{IdMapping, Mount, Propagation},
    wire,
};

/// A mount that is asked for: either a host path or an image.
pub(crate) fn from_wire(mount: wire::Mount) -> Result<Mount, Invalid> {
    let propagation = enumeration("propagation", mount.propagation)?;
    let image = mount.image.filter(|image| !image.image.is_empty()).map(image::spec_from_wire).transpose();
    let image = image.map_err(|e| e.within("image"))?;
    match &image {
        Some(_) if !mount.host_path.is_empty() => {
            return Err(Invalid::new("host_path", "must be empty when an image is mounted"));
        }
        Some(_) if !mount.readonly => return Err(Invalid::new("readonly", "must be set: images are never written to")),
        None if !mount.image_sub_path.is_empty() => {
            return Err(Invalid::new("image_sub_path", "is only for the mount of an image"));
        }
        _ => {}
    }
    if mount.recursive_read_only && !mount.readonly {
        return Err(Invalid::new("recursive_read_only", "needs readonly"));
    }
    if mount.recursive_read_only && propagation != wire::MountPropagation::PropagationPrivate {
        return Err(Invalid::new("recursive_read_only", "needs private propagation"));
    }
    let host_path = if image.is_some() { String::new() } else { absolute_path("host_path", mount.host_path)? };
    Ok(Mount {
        container_path: absolute_path("container_path", mount.container_path)?,
        host_path,
        readonly: mount.readonly,
        recursive_read_only: mount.recursive_read_only,
        selinux_relabel: mount.selinux_relabel,
        propagation: match propagation {
            wire::MountPropagation::PropagationPrivate => Propagation::Private,
            wire::MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
            wire::MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
        },
        uid_mappings: each("uidMappings", mount.uid_mappings, id_mapping_from_wire)?,
        gid_mappings: each("gidMappings", mount.gid_mappings, id_mapping_from_wire)?,
        image,
        image_sub_path: relative_path("image_sub_path", mount.image_sub_path)?,
    })
}

/// A mount as it was asked for.
pub(crate) fn to_wire(mount: &Mount) -> wire::Mount {
    let propagation = match mount.propagation {
        Propagation::Private => wire::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => wire::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => wire::MountPropagation::PropagationBidirectional,
    };
    wire::Mount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation as i32,
        uid_mappings: mount.uid_mappings.iter().copied().map(id_mapping_to_wire).collect(),
        gid_mappings: mount.gid_mappings.iter().copied().map(id_mapping_to_wire).collect(),
        recursive_read_only: mount.recursive_read_only,
        image: mount.image.as_ref().map(image::spec_to_wire),
        image_sub_path: mount.image_sub_path.clone(),
    }
}

/// A line of an id map. An empty one, or one past the last id, is refused.
pub(crate) fn id_mapping_from_wire(mapping: wire::IdMapping) -> Result<IdMapping, Invalid> {
    let wire::IdMapping { host_id, container_id, length } = mapping;
    if length == 0 {
        return Err(Invalid::new("length", "is 0"));
    }
    if host_id.checked_add(length).is_none() || container_id.checked_add(length).is_none() {
        return Err(Invalid::new("length", "reaches beyond the last id"));
    }
    Ok(IdMapping { host_id, container_id, length })
}

/// A line of an id map.
pub(crate) fn id_mapping_to_wire(mapping: IdMapping) -> wire::IdMapping {
    wire::IdMapping { host_id: mapping.host_id, container_id: mapping.container_id, length: mapping.length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind() -> wire::Mount {
        wire::Mount { container_path: "/a//b/".to_owned(), host_path: "/h/./p".to_owned(), ..Default::default() }
    }

    #[test]
    fn mounts_come_back_verbatim() {
        let mapping = wire::IdMapping { host_id: 65536, container_id: 0, length: 65536 };
        let image = wire::ImageSpec { image: "busybox".to_owned(), image_ref: "r".to_owned(), ..Default::default() };
        let mounts = [
            bind(),
            wire::Mount { readonly: true, recursive_read_only: true, selinux_relabel: true, ..bind() },
            wire::Mount { propagation: 2, uid_mappings: vec![mapping], gid_mappings: vec![mapping], ..bind() },
            wire::Mount {
                host_path: String::new(),
                readonly: true,
                image: Some(image),
                image_sub_path: "etc/x".to_owned(),
                ..bind()
            },
        ];
        for mount in mounts {
            assert_eq!(to_wire(&from_wire(mount.clone()).expect("fine")), mount);
        }
    }

    #[test]
    fn contradictory_mounts_are_refused() {
        let image = Some(wire::ImageSpec { image: "busybox".to_owned(), ..Default::default() });
        let no_host = wire::Mount { host_path: String::new(), readonly: true, ..bind() };
        let refused = [
            wire::Mount { container_path: "a".to_owned(), ..bind() },
            wire::Mount { container_path: "/a/../b".to_owned(), ..bind() },
            wire::Mount { host_path: String::new(), ..bind() },
            wire::Mount { host_path: "/../etc".to_owned(), ..bind() },
            wire::Mount { propagation: 3, ..bind() },
            wire::Mount { recursive_read_only: true, ..bind() },
            wire::Mount { recursive_read_only: true, readonly: true, propagation: 1, ..bind() },
            wire::Mount { recursive_read_only: true, readonly: true, propagation: 2, ..bind() },
            wire::Mount { image: image.clone(), readonly: true, ..bind() },
            wire::Mount { image: image.clone(), readonly: false, ..no_host.clone() },
            wire::Mount { image: image.clone(), image_sub_path: "../x".to_owned(), ..no_host.clone() },
            wire::Mount { image, image_sub_path: "/x".to_owned(), ..no_host },
            wire::Mount { image_sub_path: "x".to_owned(), ..bind() },
            wire::Mount { uid_mappings: vec![wire::IdMapping::default()], ..bind() },
        ];
        for mount in refused {
            from_wire(mount.clone()).expect_err(&format!("{mount:?}"));
        }
        let beyond = wire::IdMapping { host_id: u32::MAX, container_id: 0, length: 2 };
        id_mapping_from_wire(beyond).expect_err("beyond the last id");
    }
}
