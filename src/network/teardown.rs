//! Deleting links in the background.
//!
//! Deleting a link takes the kernel some 20 ms, whether it is one or many: it waits until no processor can still be
//! using them. So links are gathered in a group of their own and deleted by one request.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::{Handle, LinkDelRequest, LinkUnspec};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    Error,
    link::{self, failed},
    netns::Connection,
    worker::Shared,
};
use crate::{error::chain, fault, types::Id};

/// A link that is to go.
#[derive(Debug)]
pub(super) struct Doomed {
    /// Name of its end on the host.
    pub(super) link: String,
    /// Whose lease ends when it is gone.
    pub(super) pod: Option<Id>,
}

/// How long links are gathered after the first.
const GATHER: Duration = Duration::from_millis(5);

/// How long to wait before trying again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// The group of links that are to be deleted, of an engine whose links are in `group`.
pub(super) const fn dying(group: u32) -> u32 {
    group | 1
}

/// Deletes links as they come in, and ends their leases, until nobody can send any more.
pub(super) async fn run(shared: Arc<Shared>, group: u32, mut queue: UnboundedReceiver<Doomed>) {
    let connection = loop {
        match Connection::here() {
            Ok(connection) => break connection,
            Err(error) => tracing::warn!(%error, "links of removed pods cannot be deleted yet"),
        }
        tokio::time::sleep(RETRY).await;
    };
    let mut waiting = VecDeque::new();
    while let Some(first) = queue.recv().await {
        waiting.push_back(first);
        loop {
            tokio::time::sleep(GATHER).await;
            while let Ok(next) = queue.try_recv() {
                waiting.push_back(next);
            }
            match delete(connection.handle(), group, &waiting).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(error = chain(&error), links = waiting.len(), "links cannot be deleted yet");
                    if queue.is_closed() {
                        return;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        fault::point("network.detach.unlinked");
        for pod in waiting.drain(..).filter_map(|doomed| doomed.pod) {
            if let Err(error) = shared.book().end(&pod) {
                // Its addresses stay leased until the next restart.
                tracing::warn!(?pod, error = chain(&error), "the lease of a removed pod cannot be ended");
            }
        }
        shared.ended.notify_one();
    }
}

/// Deletes those of the links that are still there. When this returns, the kernel has none of them any more.
async fn delete(handle: &Handle, group: u32, doomed: &VecDeque<Doomed>) -> Result<(), Error> {
    let mut is_any = false;
    for doomed in doomed {
        // The name may belong to somebody else's link by now; the group does not.
        let link = link::by_name(handle, &doomed.link).await?;
        match link {
            Some(link) if link.group == group => is_any |= condemn(handle, link.index, group).await?,
            Some(link) => is_any |= link.group == dying(group),
            None => {}
        }
    }
    if !is_any {
        return Ok(());
    }
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(dying(group)));
    let deleted = LinkDelRequest::new_with_message(handle.clone(), message).execute().await;
    gone_is_well(deleted, "delete links of removed pods").map(|_| ())
}

/// Puts a link into the group of those to be deleted; false if it is gone.
async fn condemn(handle: &Handle, index: u32, group: u32) -> Result<bool, Error> {
    let message = LinkUnspec::new_with_index(index).link_group(dying(group)).build();
    gone_is_well(handle.link().change(message).execute().await, "condemn link")
}

/// A link goes with its pod's namespace, too: then there is nothing left to do, and the answer is false.
fn gone_is_well(result: Result<(), rtnetlink::Error>, operation: &str) -> Result<bool, Error> {
    match result.map_err(|error| failed(operation, error)) {
        Ok(()) => Ok(true),
        Err(Error::Link { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}
