//! The network that needs no plugins: its verbs are jobs of the worker.

use std::{collections::HashSet, path::Path, sync::Arc};

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::{
    Attachment, Config, Error, Recovery,
    config::Topology,
    worker::{self, Job, Shared},
};
use crate::types::{Id, PortMapping};

/// The way to the worker.
#[derive(Debug)]
pub(super) struct BuiltIn {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedSender<Job>,
}

impl BuiltIn {
    /// Prepares the host; see [`super::Network::open`].
    pub(super) fn open(config: Config, topology: Topology) -> Result<Self, Error> {
        let (shared, jobs) = worker::start(config, topology)?;
        Ok(Self { shared, jobs })
    }

    /// See [`super::Network::attach`].
    pub(super) async fn attach(&self, pod: &Id, netns: &Path, ports: &[PortMapping]) -> Result<Attachment, Error> {
        let (pod, netns, ports) = (pod.clone(), netns.to_owned(), ports.to_vec());
        self.ask(|answer| Job::Attach { pod, netns, ports, answer }).await
    }

    /// See [`super::Network::detach`].
    pub(super) async fn detach(&self, pod: &Id) -> Result<(), Error> {
        let pod = pod.clone();
        self.ask(|answer| Job::Detach { pod, answer }).await
    }

    /// See [`super::Network::recover`].
    pub(super) async fn recover(&self, live: &HashSet<Id>) -> Result<Recovery, Error> {
        let live = live.clone();
        self.ask(|answer| Job::Recover { live, answer }).await
    }

    /// See [`super::Network::attachment`].
    #[cfg(test)]
    pub(super) fn attachment(&self, pod: &Id) -> Option<Attachment> {
        let book = self.shared.book();
        book.get(pod).filter(|lease| lease.phase == super::lease::Phase::Attached).map(Attachment::of)
    }

    /// See [`super::Network::status`].
    pub(super) fn status(&self) -> Result<(), String> {
        self.jobs.send(Job::Check).map_err(|_| Error::Closed.to_string())?;
        self.shared.condition().clone().map_or(Ok(()), Err)
    }

    /// See [`super::Network::set_pod_cidr`].
    pub(super) async fn set_pod_cidr(&self, cidr: &str) -> Result<(), Error> {
        let subnets = parse_subnets(cidr)?;
        self.ask(|answer| Job::SetSubnets { subnets, answer }).await
    }

    /// See [`super::Network::close`].
    pub(super) async fn close(&self) -> Result<(), Error> {
        self.ask(|answer| Job::Close { answer }).await
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Job) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

fn parse_subnets(cidr: &str) -> Result<Vec<IpNet>, Error> {
    let parse = |part: &str| {
        let refuse =
            |reason: ipnet::AddrParseError| Error::PodCidr { cidr: cidr.to_owned(), reason: reason.to_string() };
        part.trim().parse().map_err(refuse)
    };
    cidr.split(',').map(parse).collect()
}
