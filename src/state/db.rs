//! The state database: tables of JSON records in one redb file, written by one thread in group commits.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

use super::Error;
use crate::fault;

type Definition = TableDefinition<'static, &'static str, &'static [u8]>;

/// Schema that this engine writes. Records themselves tolerate new and missing fields; this changes only when a table
/// changes its meaning.
const SCHEMA: u64 = 1;
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");

/// How many batches one commit may take together.
const GROUP: usize = 256;

/// A table of `V` by name.
#[derive(Debug)]
pub struct Table<V> {
    name: &'static str,
    value: PhantomData<fn() -> V>,
}

impl<V> Table<V> {
    /// Names a table.
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }
}

#[derive(Debug)]
enum Change {
    Put { table: &'static str, key: String, value: Vec<u8> },
    Delete { table: &'static str, key: String },
}

/// Changes that become durable together or not at all.
#[derive(Debug, Default)]
pub struct Batch(Vec<Change>);

impl Batch {
    /// Writes `value` under `key`, replacing what was there.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn put<V: Serialize>(mut self, table: &Table<V>, key: &str, value: &V) -> Result<Self, Error> {
        let encoded = serde_json::to_vec(value).map_err(|source| Error::Encode {
            table: table.name,
            key: key.to_owned(),
            source,
        })?;
        self.0.push(Change::Put { table: table.name, key: key.to_owned(), value: encoded });
        Ok(self)
    }

    /// Removes `key`; no error when it is not there.
    pub fn delete<V>(mut self, table: &Table<V>, key: &str) -> Self {
        self.0.push(Change::Delete { table: table.name, key: key.to_owned() });
        self
    }
}

/// Called by the writer thread when a batch is durable or has failed.
type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A record's key and value, or why it does not decode.
pub type Loaded<V> = Result<(String, V), Error>;

/// An open state database.
#[derive(Debug)]
pub struct Db {
    file: Arc<StateFile>,
    queue: Option<mpsc::Sender<(Batch, Done)>>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Db {
    /// Opens the database at `path`, making it when there is none.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use, is broken, or was written by a newer engine.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Arc::new(StateFile { path: path.to_owned(), database: Mutex::new(None) });
        let found = file
            .with(check_schema)
            .map_err(|source| Error::Open { path: path.to_owned(), source: Box::new(source) })?;
        if found > SCHEMA {
            return Err(Error::Newer { path: path.to_owned(), found, known: SCHEMA });
        }
        let (queue, batches) = mpsc::channel();
        let writers = Arc::clone(&file);
        let writer = thread::Builder::new()
            .name("berth-state".into())
            .spawn(move || write_batches(&writers, &batches))
            .map_err(|source| Error::File { operation: "start the writer of", path: path.to_owned(), source })?;
        Ok(Self { file, queue: Some(queue), writer: Some(writer) })
    }

    /// Reads a whole table. Records that do not decode are returned as errors beside the good ones, so that one
    /// broken record does not hide the others.
    ///
    /// # Errors
    /// When the table itself cannot be read.
    pub fn load<V: DeserializeOwned>(&self, table: &Table<V>) -> Result<Vec<Loaded<V>>, Error> {
        let records = self.file.with(|database| read_table(database, table.name));
        let records = records.map_err(|source| Error::Read { table: table.name, source: Box::new(source) })?;
        let decode = |(key, value): (String, Vec<u8>)| match serde_json::from_slice(&value) {
            Ok(value) => Ok((key, value)),
            Err(source) => Err(Error::Decode { table: table.name, key, source }),
        };
        Ok(records.into_iter().map(decode).collect())
    }

    /// Hands a batch to the writer; `done` is called from the writer's thread once it is durable or has failed.
    /// Batches become durable in the order of their submission; those that wait together share one commit.
    pub fn submit(&self, batch: Batch, done: impl FnOnce(Result<(), Error>) + Send + 'static) {
        let rejected = match &self.queue {
            Some(queue) => queue.send((batch, Box::new(done))).err().map(|back| back.0.1),
            None => Some(Box::new(done) as Done),
        };
        if let Some(done) = rejected {
            done(Err(Error::Closed));
        }
    }
}

/// Finishes what is queued before the file is closed.
impl Drop for Db {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The database's file, opened anew after each failure: redb refuses everything once a write has failed, but a disk that
/// was full may have room again.
#[derive(Debug)]
struct StateFile {
    path: PathBuf,
    database: Mutex<Option<redb::Database>>,
}

impl StateFile {
    fn with<T>(&self, act: impl FnOnce(&redb::Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slot.take();
        // redb panics over some files that are broken, where it cannot tell them from its own mistakes.
        let done = catch_unwind(AssertUnwindSafe(|| {
            let database = match known {
                Some(database) => database,
                None => redb::Database::create(&self.path)?,
            };
            act(&database).map(|result| (database, result))
        }));
        let (database, result) =
            done.unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict themselves".to_owned())))?;
        *slot = Some(database);
        Ok(result)
    }
}

fn check_schema(db: &redb::Database) -> Result<u64, redb::Error> {
    let transaction = db.begin_write()?;
    let found = {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get("schema")?.map(|value| value.value());
        match found {
            Some(found) => found,
            None => {
                meta.insert("schema", SCHEMA)?;
                SCHEMA
            }
        }
    };
    transaction.commit()?;
    Ok(found)
}

/// Keys and values of a table; none if there is no such table yet.
fn read_table(db: &redb::Database, name: &'static str) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let transaction = db.begin_read()?;
    let table = match transaction.open_table(Definition::new(name)) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut records = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        records.push((key.value().to_owned(), value.value().to_owned()));
    }
    Ok(records)
}

fn write_batches(file: &StateFile, queue: &mpsc::Receiver<(Batch, Done)>) {
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = queue.try_recv()
        {
            group.push(next);
        }
        let (batches, callbacks): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let result = file.with(|database| commit(database, &batches)).map_err(Arc::new);
        for done in callbacks {
            done(result.clone().map_err(Error::Commit));
        }
    }
}

fn commit(db: &redb::Database, batches: &[Batch]) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    for change in batches.iter().flat_map(|batch| &batch.0) {
        match change {
            Change::Put { table, key, value } => {
                transaction.open_table(Definition::new(table))?.insert(key.as_str(), value.as_slice())?;
            }
            Change::Delete { table, key } => {
                transaction.open_table(Definition::new(table))?.remove(key.as_str())?;
            }
        }
    }
    fault::point("state.commit.written");
    transaction.commit()?;
    fault::point("state.commit.durable");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Table<u32> = Table::new("numbers");

    fn commit_now(db: &Db, batch: Batch) -> Result<(), Error> {
        let (sender, receiver) = mpsc::channel();
        db.submit(batch, move |result| {
            let _ = sender.send(result);
        });
        receiver.recv().unwrap()
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let db = Db::open(&path).unwrap();
        assert!(db.load(&NUMBERS).unwrap().is_empty());
        commit_now(&db, Batch::default().put(&NUMBERS, "a", &1).unwrap().put(&NUMBERS, "b", &2).unwrap()).unwrap();
        commit_now(&db, Batch::default().delete(&NUMBERS, "a").delete(&NUMBERS, "never")).unwrap();
        drop(db);
        let db = Db::open(&path).unwrap();
        let records: Vec<_> = db.load(&NUMBERS).unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(records, [("b".to_owned(), 2)]);
    }

    #[test]
    fn a_broken_record_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("state.redb")).unwrap();
        let text: Table<String> = Table::new("numbers");
        commit_now(&db, Batch::default().put(&text, "bad", &"x".to_owned()).unwrap()).unwrap();
        commit_now(&db, Batch::default().put(&NUMBERS, "good", &7).unwrap()).unwrap();
        let records = db.load(&NUMBERS).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records.iter().filter(|record| record.is_err()).count(), 1);
    }

    #[test]
    fn a_second_opening_of_the_same_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let _db = Db::open(&path).unwrap();
        let error = Db::open(&path).unwrap_err();
        assert_eq!(crate::error::Classify::kind(&error), crate::error::Kind::FailedPrecondition);
    }
}
