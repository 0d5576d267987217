//! Fuzz target of the database's file.

use std::{fs, sync::LazyLock, sync::mpsc};

use super::{Batch, Db, Table};

const TABLE: Table<String> = Table::new("pods");

/// A sound database with some records.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(super::FILE);
    let db = Db::open(&path).expect("opens");
    let (sender, receiver) = mpsc::channel();
    for number in 0..20 {
        let batch = Batch::default().put(&TABLE, &format!("pod-{number}"), &"x".repeat(300)).expect("can be written");
        let sender = sender.clone();
        db.submit(batch, move |done| drop(sender.send(done)));
        receiver.recv().expect("is answered").expect("is written");
    }
    drop(db);
    fs::read(path).expect("readable")
});

/// A sound file that some bytes of have changed: six bytes of input each, its place and what is there.
///
/// It opens or is refused; records are whole or broken by themselves.
pub(crate) fn file(input: &[u8]) {
    let mut bytes = SOUND.clone();
    for change in input.as_chunks::<6>().0 {
        let [a, b, c, d, mask, length] = *change;
        let at = u32::from_le_bytes([a, b, c, d]) as usize % bytes.len();
        if length == u8::MAX {
            bytes.truncate(at.max(1));
        } else {
            bytes[at] ^= mask;
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(super::FILE);
    fs::write(&path, &bytes).expect("writes");
    if let Ok(db) = Db::open(&path) {
        let _ = db.load(&TABLE);
    }
}
