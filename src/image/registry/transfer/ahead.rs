//! Large blobs over slow paths: while one range is passed on, the next ones are fetched over further connections.
//!
//! Ranges that are ahead are held in memory until it is their turn, so there is a budget for all transfers together.
//! A transfer that gets none of it, or whose host does not serve ranges, goes on over one connection.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Either, select},
    stream::FuturesOrdered,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::range::RangeReader;
use crate::image::registry::{descriptor::Descriptor, error::Error, repository::Repository};

/// What transfers may use to be faster.
#[derive(Debug, Clone)]
pub(in crate::image::registry) struct Budget {
    /// Blobs smaller than this are read over one connection.
    pub(in crate::image::registry) smallest_blob: u64,
    /// Length of a range.
    pub(in crate::image::registry) range: u64,
    /// Connections of one transfer.
    pub(in crate::image::registry) connections: usize,
    /// Bytes a second that one connection must give for further ones not to be worth their while.
    pub(in crate::image::registry) fast: u64,
    /// Ranges that all transfers together may hold in memory.
    pub(in crate::image::registry) ranges: Arc<Semaphore>,
}

/// Bytes after which a connection's speed is known.
const SAMPLE: u64 = 1 << 20;

/// A range in memory.
struct Segment {
    chunks: VecDeque<Bytes>,
    /// Its share of the budget.
    _permit: OwnedSemaphorePermit,
}

/// A blob on its way.
pub(super) struct Transfer {
    repository: Arc<Repository>,
    blob: Arc<Descriptor>,
    budget: Budget,
    /// The range that is passed on as it arrives.
    head: Option<RangeReader>,
    /// The range that is passed on out of memory.
    current: Option<Segment>,
    /// Ranges behind those, in order: the ones that are complete, then the ones that are being fetched.
    ready: VecDeque<Result<Segment, Error>>,
    ahead: FuturesOrdered<BoxFuture<'static, Result<Segment, Error>>>,
    /// The first byte that nobody has asked for yet.
    planned: u64,
    /// Bytes passed on.
    passed: u64,
    /// Bytes that arrived at the head, and how long we waited for them.
    sample: (u64, Duration),
}

impl Transfer {
    pub(super) fn new(repository: Arc<Repository>, blob: Arc<Descriptor>, budget: Budget) -> Result<Self, Error> {
        let head = RangeReader::new(repository.clone(), blob.clone(), 0, blob.size)?;
        Ok(Self {
            planned: blob.size,
            repository,
            blob,
            budget,
            head: Some(head),
            current: None,
            ready: VecDeque::new(),
            ahead: FuturesOrdered::new(),
            passed: 0,
            sample: (0, Duration::ZERO),
        })
    }

    /// The next bytes of the blob.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let bytes = loop {
            if let Some(bytes) = self.current.as_mut().and_then(|segment| segment.chunks.pop_front()) {
                break Some(bytes);
            }
            self.current = None;
            if self.head.is_some() {
                if let Some(bytes) = self.next_of_head().await? {
                    break Some(bytes);
                }
                self.head = None;
            }
            if self.ready.is_empty() && self.ahead.is_empty() {
                if self.planned == self.blob.size {
                    break None;
                }
                self.read_on_from(self.planned)?;
                continue;
            }
            self.take_segment().await?;
            self.fetch_ahead()?;
        };
        self.passed += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(bytes)
    }

    /// Waits for the head, while the ranges ahead arrive as well.
    async fn next_of_head(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(head) = &mut self.head else { return Ok(None) };
        let asked = Instant::now();
        let bytes = {
            let mut next = pin!(head.next());
            loop {
                if self.ahead.is_empty() {
                    break next.await?;
                }
                match select(next.as_mut(), self.ahead.next()).await {
                    Either::Left((bytes, _)) => break bytes?,
                    Either::Right((segment, _)) => self.ready.extend(segment),
                }
            }
        };
        self.sample.0 += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.sample.1 += asked.elapsed();
        if self.is_worth_more_connections() {
            let end = self.head.as_ref().map_or(0, RangeReader::offset) + self.budget.range;
            self.planned = end.min(self.blob.size);
            self.fetch_ahead()?;
            if let Some(head) = &mut self.head
                && !self.ahead.is_empty()
            {
                head.shorten(end);
            } else {
                self.planned = self.blob.size;
            }
        }
        Ok(bytes)
    }

    /// Whether the head reads to the end of a large blob, slowly, from a host that serves ranges.
    fn is_worth_more_connections(&mut self) -> bool {
        let (bytes, waited) = self.sample;
        if bytes < SAMPLE {
            return false;
        }
        self.sample = (0, Duration::ZERO);
        let slow = bytes as f64 / waited.as_secs_f64().max(f64::EPSILON) < self.budget.fast as f64;
        let Some(head) = &self.head else { return false };
        slow && self.blob.size >= self.budget.smallest_blob
            && head.end() == self.blob.size
            && self.blob.size - head.offset() > self.budget.range
            && head.serves_ranges()
    }

    /// Asks for as many further ranges as there are connections and budget.
    fn fetch_ahead(&mut self) -> Result<(), Error> {
        while self.planned < self.blob.size && self.ahead.len() + self.ready.len() + 1 < self.budget.connections {
            let Ok(permit) = self.budget.ranges.clone().try_acquire_owned() else { break };
            let end = (self.planned + self.budget.range).min(self.blob.size);
            let reader = RangeReader::new(self.repository.clone(), self.blob.clone(), self.planned, end)?;
            self.ahead.push_back(collect(reader, permit).boxed());
            self.planned = end;
        }
        Ok(())
    }

    /// Makes the next range the one that is passed on. If it could not be had, the rest is read over one connection,
    /// which then says why if it cannot either.
    async fn take_segment(&mut self) -> Result<(), Error> {
        let next = match self.ready.pop_front() {
            Some(segment) => Some(segment),
            None => self.ahead.next().await,
        };
        match next {
            Some(Ok(segment)) => self.current = Some(segment),
            Some(Err(error)) => {
                tracing::debug!(error = crate::error::chain(&error), "range fetched ahead is not to be had");
                self.budget.connections = 1;
                self.read_on_from(self.passed)?;
            }
            None => {}
        }
        Ok(())
    }

    fn read_on_from(&mut self, offset: u64) -> Result<(), Error> {
        self.ready.clear();
        self.ahead.clear();
        self.planned = self.blob.size;
        self.head = Some(RangeReader::new(self.repository.clone(), self.blob.clone(), offset, self.blob.size)?);
        Ok(())
    }
}

async fn collect(mut reader: RangeReader, permit: OwnedSemaphorePermit) -> Result<Segment, Error> {
    let mut chunks = VecDeque::new();
    while let Some(bytes) = reader.next().await? {
        chunks.push_back(bytes);
    }
    Ok(Segment { chunks, _permit: permit })
}
