//! What a chunk is called in the cold tier.
//!
//! ```text
//!   cold/00003/<artifact, 32 hex digits>/<version>-<made at>-<since>/<number of the chunk>
//! ```
//!
//! A version has its objects for itself, so that they can go when it goes and nobody has to count. When it
//! was made is part of the name, since an artifact that was deleted may begin with version 1 again; so is when
//! its move was decided, so that no name is ever used twice.

use bravo_model::lifecycle::{Class, Stay, VersionId};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

/// One chunk of one version, as one class keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColdName {
    /// The version's partition.
    pub partition: u16,
    /// The version.
    pub id: VersionId,
    /// The stay that it belongs to: cold or archive.
    pub stay: Stay,
    /// Which of its chunks, from 0.
    pub index: u32,
}

impl ColdName {
    /// Its place below the tier's root.
    pub(crate) fn path(&self) -> Path {
        let (folder, VersionId { artifact, version, made_at }) = (folder(self.stay.class, self.partition), self.id);
        let artifact = u128::from_be_bytes(artifact);
        Path::from(format!("{folder}/{artifact:032x}/{version}-{made_at}-{}/{:06}", self.stay.since, self.index))
    }

    /// The chunk at a place; none if it is nothing of ours.
    pub(crate) fn parse(path: &Path) -> Option<Self> {
        let parts: Vec<_> = path.parts().map(|part| part.as_ref().to_owned()).collect();
        let [class, partition, artifact, version, index] = parts.as_slice() else { return None };
        let class = [Class::Cold, Class::Archive].into_iter().find(|known| known.as_str() == class)?;
        let artifact = u128::from_str_radix(artifact, 16).ok()?.to_be_bytes();
        let mut numbers = version.splitn(3, '-');
        let (version, made_at, since) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let stay = Stay { class, since: since.parse().ok()? };
        let id = VersionId { artifact, version: version.parse().ok()?, made_at: made_at.parse().ok()? };
        let name = Self { partition: partition.parse().ok()?, id, stay, index: index.parse().ok()? };
        (name.path() == *path).then_some(name)
    }
}

/// Where a partition's chunks of one class are.
pub(crate) fn folder(class: Class, partition: u16) -> String {
    format!("{}/{partition:05}", class.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_its_place_and_nothing_else_is_one() {
        let id = VersionId { artifact: [0x0a; 16], version: 7, made_at: 1_234 };
        let name = ColdName { partition: 3, id, stay: Stay { class: Class::Archive, since: 99 }, index: 12 };
        let place = "archive/00003/0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a/7-1234-99/000012";
        assert_eq!(name.path().as_ref(), place);
        assert_eq!(ColdName::parse(&Path::from(place)), Some(name));
        let bad =
            ["hot/00003/0a/7-1234-99/000012", "archive/3", "notes.txt", &place.replace("00003", "3"), &place[1..]];
        for bad in bad {
            assert_eq!(ColdName::parse(&Path::from(bad)), None, "{bad}");
        }
    }
}
