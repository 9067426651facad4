//! A store that a thread of the service writes, with what would be left of it after the death of the machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobq_core::error::Error;
use jobq_core::job::{JobId, Token};
use jobq_core::repository::{Ack, Change, Held, KeptLease, LeaseTable, Pace, Repository, Visit};

use super::store::Store;

/// A [`Store`] at a pace of its own, with a lease table.
pub(crate) struct Paced {
    pub(crate) store: Arc<Store>,
    ack: Ack,
    synced: Mutex<Arc<Store>>,
    leases: Mutex<BTreeMap<u32, KeptLease>>,
}

impl Paced {
    pub(crate) fn new(ack: Ack) -> Arc<Self> {
        Self::on(Store::new(), ack, BTreeMap::new())
    }

    pub(crate) fn on(store: Arc<Store>, ack: Ack, leases: BTreeMap<u32, KeptLease>) -> Arc<Self> {
        let synced = Mutex::new(store.copy());
        Arc::new(Self { store, ack, synced, leases: Mutex::new(leases) })
    }

    /// What the death of the process would leave.
    pub(crate) fn after_kill(&self) -> Arc<Self> {
        Self::on(self.store.copy(), self.ack, self.leases.lock().unwrap().clone())
    }

    /// What the death of the machine would leave; of the leases nothing.
    pub(crate) fn after_power_cut(&self) -> Arc<Self> {
        Self::on(self.synced.lock().unwrap().copy(), self.ack, BTreeMap::new())
    }

    /// The leases in the table.
    pub(crate) fn held(&self) -> Vec<(JobId, Token)> {
        self.table().iter().map(|lease| (lease.id, lease.token)).collect()
    }

    /// The same, whole.
    pub(crate) fn table(&self) -> Vec<KeptLease> {
        self.leases.lock().unwrap().values().copied().collect()
    }
}

impl Repository for Paced {
    fn durable(&self) -> bool {
        true
    }

    fn pace(&self) -> Pace {
        Pace::Thread { ack: self.ack, interval: Duration::from_millis(100) }
    }

    fn load(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        self.store.load(prefix, visit)
    }

    fn commit(&self, batch: &[Change]) -> Result<(), Error> {
        self.store.commit(batch)
    }

    fn sync(&self) -> Result<(), Error> {
        *self.synced.lock().unwrap() = self.store.copy();
        Ok(())
    }

    fn leases(&self) -> Option<&dyn LeaseTable> {
        Some(self)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(key)
    }

    fn compact(&self) -> Result<u64, Error> {
        self.store.compact()
    }

    fn close(&self) -> Result<(), Error> {
        self.store.close()
    }
}

impl LeaseTable for Paced {
    fn load(&self) -> Result<Vec<KeptLease>, Error> {
        Ok(self.table())
    }

    fn write(&self, entries: &[Held]) -> Result<(), Error> {
        let mut leases = self.leases.lock().unwrap();
        for entry in entries {
            match entry.lease {
                Some(lease) => drop(leases.insert(entry.place, lease)),
                None => drop(leases.remove(&entry.place)),
            }
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), Error> {
        self.leases.lock().unwrap().clear();
        Ok(())
    }
}
