//! The end of the log, and how it moves on to a new segment.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, mpsc},
};

use super::{
    GroupId,
    disk::DiskFile,
    error::LogError,
    frame::{FRAME_OVERHEAD, FrameBuilder, FramePlace},
    record::{Kind, RECORD_HEADER, RawRecord},
    segment::{self, SEAL_BYTES, SEGMENT_BYTES_MAX, SegmentHeader},
    shared::Inner,
    written::WrittenGroup,
};

/// The end of the log.
pub(crate) struct Tail {
    pub(crate) segment: u32,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) capacity: usize,
    pub(crate) offset: usize,
    pub(crate) synced_upto: usize,
    pub(crate) next_frame: u64,
    pub(crate) prev_crc: u32,
}

impl Tail {
    /// Where the next frame goes.
    pub(crate) fn place(&self) -> FramePlace {
        FramePlace {
            segment: self.segment,
            offset: self.offset,
            seq: self.next_frame,
            synced_upto: self.synced_upto,
            prev_crc: self.prev_crc,
        }
    }
}

/// The next segment's file, being reserved by a thread of its own.
pub(crate) struct Spare {
    segment: u32,
    file: mpsc::Receiver<io::Result<Arc<dyn DiskFile>>>,
}

impl Spare {
    /// Reserves segment `segment` in the background. Without a thread it is created when it is
    /// needed, that is all.
    pub(crate) fn reserve(inner: &Arc<Inner>, segment: u32) -> Option<Spare> {
        let capacity = inner.options.segment_bytes;
        let (send, file) = mpsc::channel();
        let inner = inner.clone();
        let reserve = move || {
            let _ = send.send(segment::reserve(&*inner.segments.disk, segment, capacity));
        };
        std::thread::Builder::new().name("bravo-log-spare".into()).spawn(reserve).ok()?;
        Some(Spare { segment, file })
    }

    /// The file, if it is for `segment`. If the disk was full then, it may have room now: `None`.
    pub(crate) fn take(self, segment: u32) -> Result<Option<Arc<dyn DiskFile>>, LogError> {
        match self.file.recv() {
            Ok(Ok(file)) => Ok((self.segment == segment).then_some(file)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::StorageFull => Ok(None),
            Ok(Err(error)) => Err(LogError::io("reserving the next segment", &error)),
            Err(_) => Ok(None),
        }
    }
}

/// A segment to begin.
pub(crate) struct Begin {
    pub(crate) seq: u32,
    pub(crate) previous_end: u32,
    pub(crate) next_frame: u64,
    pub(crate) prev_crc: u32,
    /// Bytes that must fit behind the begin frame.
    pub(crate) needed: usize,
}

impl Begin {
    /// Creates the segment with the state of all groups in its first frame, durable with its name.
    pub(crate) fn create(
        self,
        inner: &Inner,
        groups: &BTreeMap<GroupId, WrittenGroup>,
        frame: &mut FrameBuilder,
        reserved: Option<Arc<dyn DiskFile>>,
    ) -> Result<Tail, LogError> {
        let checkpoints: Vec<(GroupId, Vec<u8>)> = groups
            .iter()
            .filter(|(_, group)| !group.is_blank())
            .map(|(id, group)| {
                let mut data = Vec::new();
                group.encode(&mut data);
                (*id, data)
            })
            .collect();
        let mut header = SegmentHeader { seq: self.seq, capacity: 0, previous_end: self.previous_end };
        let begin_len = FRAME_OVERHEAD
            + RECORD_HEADER
            + header.encode().len()
            + checkpoints.iter().map(|(_, data)| RECORD_HEADER + data.len()).sum::<usize>();
        let wanted = inner.options.segment_bytes;
        header.capacity = wanted.max((begin_len + self.needed + SEAL_BYTES) as u64).min(SEGMENT_BYTES_MAX);

        let disk = &*inner.segments.disk;
        let file = match reserved.filter(|_| header.capacity == wanted) {
            Some(file) => file,
            None => segment::reserve(disk, self.seq, header.capacity)
                .map_err(|error| LogError::io("creating a segment", &error))?,
        };
        frame.begin();
        frame.push(&header.record(&header.encode()));
        for (group, data) in &checkpoints {
            frame.push(&RawRecord { group: *group, kind: Kind::Checkpoint, term: 0, index: 0, data });
        }
        let place =
            FramePlace { segment: self.seq, offset: 0, seq: self.next_frame, synced_upto: 0, prev_crc: self.prev_crc };
        let (bytes, prev_crc) = frame.finish(place);
        let offset = bytes.len();
        file.pwrite(bytes, 0).map_err(|error| LogError::io("beginning a segment", &error))?;
        file.sync_data().map_err(|error| LogError::io("syncing a new segment", &error))?;
        disk.rename(&segment::new_name_of(self.seq), &segment::name_of(self.seq))
            .map_err(|error| LogError::io("naming a segment", &error))?;
        disk.sync_dir().map_err(|error| LogError::io("syncing the directory", &error))?;
        inner.segments.insert(self.seq, file.clone(), header.capacity);
        Ok(Tail {
            segment: self.seq,
            file,
            capacity: header.capacity as usize,
            offset,
            synced_upto: offset,
            next_frame: self.next_frame + 1,
            prev_crc,
        })
    }
}
