//! Statistics and space.

use super::{container, pod};
use crate::{
    engine::{ContainerFilter, ContainerUsage, PodFilter, PodUsage},
    network::InterfaceUsage,
    runtime::cgroup::{Cpu, Memory, Pressure, Stall, Stats},
    types::{FilesystemUsage, Timestamp},
    wire,
};

/// Which containers' usage a list is to show.
pub(crate) fn container_filter_from_wire(filter: Option<wire::ContainerStatsFilter>) -> ContainerFilter {
    let filter = filter.unwrap_or_default();
    ContainerFilter {
        id: Some(filter.id).filter(|id| !id.is_empty()),
        pod_id: Some(filter.pod_sandbox_id).filter(|id| !id.is_empty()),
        state: None,
        labels: filter.label_selector,
    }
}

/// Which pods' usage a list is to show.
pub(crate) fn pod_filter_from_wire(filter: Option<wire::PodSandboxStatsFilter>) -> PodFilter {
    let filter = filter.unwrap_or_default();
    PodFilter { id: Some(filter.id).filter(|id| !id.is_empty()), state: None, labels: filter.label_selector }
}

/// Usage of a container.
pub(crate) fn container_to_wire(usage: &ContainerUsage) -> wire::ContainerStats {
    let stats = &usage.cgroup;
    wire::ContainerStats {
        attributes: Some(container::attributes_to_wire(&usage.container)),
        cpu: stats.cpu.as_ref().map(|cpu| cpu_to_wire(cpu, usage.cpu_rate, stats.at)),
        memory: stats.memory.as_ref().map(|memory| memory_to_wire(memory, stats.at)),
        writable_layer: Some(filesystem_to_wire(&usage.writable_layer)),
        swap: stats.memory.as_ref().and_then(|memory| swap_to_wire(memory, stats.at)),
        io: io_to_wire(stats),
    }
}

/// Usage of a pod with its containers.
pub(crate) fn pod_to_wire(usage: &PodUsage) -> wire::PodSandboxStats {
    let stats = &usage.cgroup;
    let linux = wire::LinuxPodSandboxStats {
        cpu: stats.cpu.as_ref().map(|cpu| cpu_to_wire(cpu, usage.cpu_rate, stats.at)),
        memory: stats.memory.as_ref().map(|memory| memory_to_wire(memory, stats.at)),
        network: network_to_wire(&usage.interfaces, usage.at),
        process: usage.tasks.map(|tasks| wire::ProcessUsage { timestamp: usage.at.0, process_count: value(tasks) }),
        containers: usage.containers.iter().map(container_to_wire).collect(),
        io: io_to_wire(stats),
    };
    wire::PodSandboxStats { attributes: Some(pod::attributes_to_wire(&usage.pod)), linux: Some(linux), windows: None }
}

/// Space used on one file system.
pub(crate) fn filesystem_to_wire(usage: &FilesystemUsage) -> wire::FilesystemUsage {
    wire::FilesystemUsage {
        timestamp: usage.at.0,
        fs_id: Some(wire::FilesystemIdentifier { mountpoint: usage.mountpoint.to_string_lossy().into_owned() }),
        // kubelet dereferences these two without looking.
        used_bytes: value(usage.used_bytes),
        inodes_used: value(usage.inodes_used),
    }
}

fn cpu_to_wire(cpu: &Cpu, rate: Option<u64>, at: Timestamp) -> wire::CpuUsage {
    wire::CpuUsage {
        timestamp: at.0,
        usage_core_nano_seconds: value(cpu.usage_ns),
        usage_nano_cores: rate.and_then(value),
        psi: cpu.pressure.as_ref().map(pressure_to_wire),
    }
}

fn memory_to_wire(memory: &Memory, at: Timestamp) -> wire::MemoryUsage {
    wire::MemoryUsage {
        timestamp: at.0,
        working_set_bytes: value(memory.working_set),
        available_bytes: memory.limit.and_then(|limit| value(limit.saturating_sub(memory.working_set))),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss),
        page_faults: value(memory.page_faults),
        major_page_faults: value(memory.major_page_faults),
        psi: memory.pressure.as_ref().map(pressure_to_wire),
    }
}

fn swap_to_wire(memory: &Memory, at: Timestamp) -> Option<wire::SwapUsage> {
    let swap_usage_bytes = value(memory.swap?);
    Some(wire::SwapUsage {
        timestamp: at.0,
        swap_available_bytes: memory.swap_available.and_then(value),
        swap_usage_bytes,
    })
}

fn io_to_wire(stats: &Stats) -> Option<wire::IoUsage> {
    let pressure = stats.io.as_ref()?.pressure.as_ref()?;
    Some(wire::IoUsage { timestamp: stats.at.0, psi: Some(pressure_to_wire(pressure)) })
}

fn pressure_to_wire(pressure: &Pressure) -> wire::PsiStats {
    wire::PsiStats { full: Some(stall_to_wire(&pressure.full)), some: Some(stall_to_wire(&pressure.some)) }
}

fn stall_to_wire(stall: &Stall) -> wire::PsiData {
    wire::PsiData { total: stall.total_ns, avg10: stall.avg10, avg60: stall.avg60, avg300: stall.avg300 }
}

/// Usage of a pod's links, the default one first; `None` on the host's network, which is not the pod's to count.
fn network_to_wire(interfaces: &[InterfaceUsage], at: Timestamp) -> Option<wire::NetworkUsage> {
    let mut interfaces = interfaces.iter().map(|link| wire::NetworkInterfaceUsage {
        name: link.name.clone(),
        rx_bytes: value(link.rx_bytes),
        rx_errors: value(link.rx_errors),
        tx_bytes: value(link.tx_bytes),
        tx_errors: value(link.tx_errors),
    });
    let default_interface = Some(interfaces.next()?);
    Some(wire::NetworkUsage { timestamp: at.0, default_interface, interfaces: interfaces.collect() })
}

fn value(value: u64) -> Option<wire::UInt64Value> {
    Some(wire::UInt64Value { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_and_available_memory_are_told_in_the_wires_units() {
        let stall = Stall { total_ns: 1_234_000, avg10: 1.5, avg60: 0.5, avg300: 0.25 };
        let pressure = Some(Pressure { some: stall, full: Stall::default() });
        let memory = Memory { working_set: 60, limit: Some(100), pressure, ..Default::default() };
        let wire = memory_to_wire(&memory, Timestamp(7));
        assert_eq!((wire.timestamp, wire.available_bytes), (7, value(40)));
        assert_eq!(wire.psi.and_then(|psi| psi.some).map(|some| (some.total, some.avg10)), Some((1_234_000, 1.5)));
        assert_eq!(memory_to_wire(&Memory::default(), Timestamp(7)).available_bytes, None);
    }

    #[test]
    fn the_first_link_is_the_default_one() {
        let link = |name: &str| InterfaceUsage { name: name.to_owned(), rx_bytes: 5, ..Default::default() };
        let usage = network_to_wire(&[link("eth0"), link("net1")], Timestamp(7)).expect("has links");
        assert_eq!(usage.default_interface.map(|link| (link.name, link.rx_bytes)), Some(("eth0".to_owned(), value(5))));
        assert_eq!(usage.interfaces.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["net1"]);
        assert_eq!(network_to_wire(&[], Timestamp(7)), None);
    }

    #[test]
    fn space_is_always_told() {
        let usage = FilesystemUsage { at: Timestamp(7), mountpoint: "/var".into(), used_bytes: 0, inodes_used: 0 };
        let wire = filesystem_to_wire(&usage);
        assert_eq!((wire.used_bytes, wire.inodes_used), (value(0), value(0)));
    }
}
