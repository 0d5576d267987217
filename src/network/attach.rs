//! Joining a pod to the network.

use std::{io, os::fd::AsFd, path::Path, time::Duration};

use futures_util::future::{try_join, try_join3};
use tokio::time::{Instant, timeout_at};

use super::{
    Attachment, Error,
    lease::{Lease, Phase},
    link::{self, Link, bridge, veth},
    netns::{Connection, Netns},
    plan::{self, LinkPlan},
    worker::Worker,
};
use crate::{
    fault,
    types::{Id, PortMapping},
};

/// The kernel gives loopback this number in every namespace.
const LOOPBACK: u32 = 1;

/// How long a pod waits for an address that is being given back.
const PATIENCE: Duration = Duration::from_secs(2);

impl Attachment {
    /// How the pod of a lease is joined.
    pub(super) fn of(lease: &Lease) -> Self {
        Self {
            ips: lease.ips(),
            interface: plan::POD_LINK.to_owned(),
            host_interface: lease.link.clone(),
            mac: plan::pod_mac(&lease.pod).to_string(),
        }
    }
}

impl Worker {
    /// Gives a pod its link, addresses, routes and host ports. A pod that has them keeps them; one whose link is gone
    /// with its namespace gets a new link with the same addresses.
    pub(super) async fn attach(
        &mut self,
        pod: &Id,
        netns: &Path,
        mappings: &[PortMapping],
    ) -> Result<Attachment, Error> {
        let known = self.shared.book().get(pod).cloned();
        if let Some(lease) = &known {
            match lease.phase {
                Phase::Releasing => return Err(Error::Releasing(pod.clone())),
                Phase::Attached if self.has_link(lease).await? => return Ok(Attachment::of(lease)),
                Phase::Attached | Phase::Attaching => {}
            }
        }
        let netns = Netns::open(netns)?;
        let pod_side = netns.connect()?;
        let lease = match known {
            Some(lease) => lease,
            None => {
                let ipv6 = self.host.has_ipv6() && pod_side.has_ipv6();
                let lease = self.lease(pod, mappings, ipv6).await?;
                fault::point("network.attach.leased");
                lease
            }
        };
        match self.set_up(&lease, &netns, &pod_side).await {
            Ok(()) => Ok(Attachment::of(&lease)),
            Err(error) => {
                // The first error is the one to be told; what cannot be undone now is undone by a detach.
                if let Err(error) = self.release(pod) {
                    tracing::warn!(?pod, error = crate::error::chain(&error), "half a network is left");
                }
                Err(error)
            }
        }
    }

    /// Leases addresses. When none is free, those that are being given back are waited for.
    async fn lease(&self, pod: &Id, mappings: &[PortMapping], ipv6: bool) -> Result<Lease, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leased = self.shared.book().reserve(pod, mappings, ipv6);
            if !matches!(leased, Err(Error::PoolEmpty(_))) || !self.shared.book().is_any_releasing() {
                return leased;
            }
            if timeout_at(deadline, self.shared.ended.notified()).await.is_err() {
                return leased;
            }
        }
    }

    async fn has_link(&self, lease: &Lease) -> Result<bool, Error> {
        let link = link::by_name(self.host.handle(), &lease.link).await?;
        Ok(link.is_some_and(|link| link.group == self.group))
    }

    async fn set_up(&mut self, lease: &Lease, netns: &Netns, pod_side: &Connection) -> Result<(), Error> {
        let plan = plan::link(lease, self.topology);
        self.set_up_link(&plan, netns, pod_side).await?;
        fault::point("network.attach.linked");
        self.open_ports(lease)?;
        fault::point("network.attach.opened");
        self.shared.book().set_phase(&lease.pod, Phase::Attached)
    }

    async fn set_up_link(&self, plan: &LinkPlan, netns: &Netns, pod_side: &Connection) -> Result<(), Error> {
        let (host, pod) = (self.host.handle(), pod_side.handle());
        let bridge = plan.bridged.then_some(&self.bridge);
        veth::create(host, plan, netns.file().as_fd(), self.mtu, self.group, bridge).await?;
        let find_host = async { expect(link::by_name(host, &plan.host.name).await?, &plan.host.name) };
        let find_pod = async { expect(link::by_name(pod, &plan.pod.name).await?, &plan.pod.name) };
        let (host_end, pod_end) = try_join(find_host, find_pod).await?;
        let host_side = async {
            link::configure(host, host_end.index, &plan.host).await?;
            link::route_loopback_over(host, &host_end, &plan.from_loopback).await?;
            if plan.bridged { bridge::set_hairpin(host, host_end.index).await } else { Ok(()) }
        };
        let pod_side = link::configure(pod, pod_end.index, &plan.pod);
        try_join3(host_side, pod_side, link::set_up(pod, LOOPBACK)).await?;
        // The end that came up first did so without a peer. The kernel lets it send from some later moment on, or when
        // it is asked for (since 6.9): the pod's first packet must not be lost.
        try_join(link::by_index(host, host_end.index), link::by_index(pod, pod_end.index)).await?;
        Ok(())
    }

    fn open_ports(&mut self, lease: &Lease) -> Result<(), Error> {
        if lease.ports.is_empty() {
            return Ok(());
        }
        match self.firewall.open_ports(&lease.ports, self.is_routed()) {
            // Somebody has removed the table. The lease is written down, so its ports are in the new one.
            Err(Error::Firewall { source, .. }) if source.kind() == io::ErrorKind::NotFound => self.rebuild_table(),
            result => result,
        }
    }
}

fn expect(link: Option<Link>, name: &str) -> Result<Link, Error> {
    link.ok_or_else(|| Error::Link {
        operation: format!("find link {name} that was just made"),
        source: io::Error::from_raw_os_error(libc::ENODEV),
    })
}
