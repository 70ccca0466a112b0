//! Shared immutable bytes.
use std::{
    fmt,
    ops::{Deref, Range},
    sync::Arc,
};
/// A cheap-to-clone slice of shared, immutable bytes.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}
impl From<Vec<u8>> for Bytes {
    fn from(v: Vec<u8>) -> Bytes {
        let n = v.len();
        Bytes { owner: Arc::new(v), range: 0..n }
    }
}
impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}
impl PartialEq for Bytes {
    fn eq(&self, o: &Bytes) -> bool {
        **self == **o
    }
}
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}
