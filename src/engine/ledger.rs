//! The engine's records in the state database.

use std::{path::Path, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use super::{Error, container, pod};
use crate::{
    error::chain,
    state::{self, Batch, Db, Table},
    task::blocking,
    types::Id,
};

pub(super) const PODS: Table<pod::Record> = Table::new("pods");
pub(super) const CONTAINERS: Table<container::Record> = Table::new("containers");

#[derive(Debug)]
pub(super) struct Ledger(Db);

impl Ledger {
    pub(super) async fn open(root: &Path) -> Result<Self, Error> {
        let path = root.join(state::FILE);
        blocking(move || Db::open(&path)).await.map(Self).map_err(|source| failed("open", source))
    }

    /// All records of a table; broken ones are logged and left out.
    pub(super) fn load<V: DeserializeOwned>(&self, table: &Table<V>) -> Result<Vec<V>, Error> {
        let records = self.0.load(table).map_err(|source| failed("read", source))?;
        Ok(records
            .into_iter()
            .filter_map(|record| match record {
                Ok((_, value)) => Some(value),
                Err(error) => {
                    tracing::error!(error = chain(&error), "a record is broken and is left out");
                    None
                }
            })
            .collect())
    }

    /// Hands a record to the writer at once; the future waits until it is durable.
    pub(super) fn put<V: Serialize>(
        &self,
        table: &Table<V>,
        id: &Id,
        record: &V,
    ) -> impl Future<Output = Result<(), Error>> + use<V> {
        let submitted = Batch::default().put(table, id.as_str(), record).map(|batch| self.submit(batch));
        async move { wait(submitted.map_err(|source| failed("write", source))?).await }
    }

    /// Hands the removal of a record to the writer at once; the future waits until it is durable.
    pub(super) fn delete<V>(&self, table: &Table<V>, id: &Id) -> impl Future<Output = Result<(), Error>> + use<V> {
        wait(self.submit(Batch::default().delete(table, id.as_str())))
    }

    /// Waits until everything put before is durable.
    pub(super) async fn flush(&self) {
        let _ = wait(self.submit(Batch::default())).await;
    }

    fn submit(&self, batch: Batch) -> oneshot::Receiver<Result<(), state::Error>> {
        let (sender, receiver) = oneshot::channel();
        self.0.submit(batch, move |result| {
            let _ = sender.send(result);
        });
        receiver
    }
}

async fn wait(submitted: oneshot::Receiver<Result<(), state::Error>>) -> Result<(), Error> {
    submitted.await.unwrap_or(Err(state::Error::Closed)).map_err(|source| failed("write", source))
}

fn failed(operation: &'static str, source: state::Error) -> Error {
    Error::State { operation, source: Arc::new(source) }
}
