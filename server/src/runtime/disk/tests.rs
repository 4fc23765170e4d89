use std::collections::BTreeMap;

use engine::disk::{ALIGN, DiskFact, EVIDENCE_KEPT, SmallFile};

use super::*;

const SEGMENT: SegmentId = SegmentId(7);
const BYTES: u64 = 1 << 20;

/// Runs a story on an executor of its own.
fn on_executor<F: Future<Output = ()> + 'static>(story: impl FnOnce() -> F + Send + 'static) {
    glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(64 << 10)
        .spawn(story)
        .expect("an executor")
        .join()
        .expect("the story ends");
}

/// Turns the executor until `count` operations have completed.
async fn complete(disk: &mut Disk, count: usize) -> BTreeMap<DiskToken, DiskDone> {
    let mut set = crate::runtime::poll::PollSet::new().expect("an epoll set");
    set.add(&*disk, crate::runtime::poll::Source::Disk, nix::sys::epoll::EpollFlags::EPOLLIN)
        .expect("the disk's descriptor can be polled");
    let (mut done, mut events) = (Vec::new(), Vec::new());
    while done.len() < count {
        disk.flush();
        set.ready().await.expect("readiness");
        set.take(&mut events).expect("events");
        disk.reap(&mut done);
    }
    done.into_iter().map(|done| (done.token, done)).collect()
}

fn dirs(dir: &tempfile::TempDir) -> Dirs {
    Dirs { log: dir.path().into(), snapshots: dir.path().into() }
}

fn block(fill: u8) -> AlignedBuf {
    let mut block = AlignedBuf::zeroed(ALIGN);
    block.as_mut_slice().fill(fill);
    block
}

async fn writes_read_back(dirs: Dirs, backend: Backend) {
    let mut disk = Disk::start(dirs.clone(), backend).await.expect("the disk starts");
    let prepare = DiskToken(1);
    disk.submit(DiskOp::PrepareSegment { token: prepare, segment: SEGMENT, bytes: BYTES });
    let done = complete(&mut disk, 1).await;
    assert_eq!(done[&prepare].result, Ok(DiskFact::Done), "{}", backend.name());
    for number in 0..4 {
        disk.submit(DiskOp::WriteSegment {
            token: DiskToken(10 + number),
            segment: SEGMENT,
            offset: number * ALIGN as u64,
            data: block(b'a' + number as u8),
        });
    }
    let done = complete(&mut disk, 4).await;
    assert_eq!(done.len(), 4, "each reported once");
    assert!(done.values().all(|done| done.result == Ok(DiskFact::Done)), "{done:?}");
    let content = std::fs::read(dirs.segment(SEGMENT)).expect("the segment is there");
    assert_eq!(content.len() as u64, BYTES);
    for number in 0..4 {
        assert_eq!(content[number * ALIGN], b'a' + number as u8, "{}", backend.name());
    }
    assert!(content[4 * ALIGN..].iter().all(|byte| *byte == 0), "the rest is zeros");
}

/// Every backend on this machine: what was acknowledged can be read by anybody.
#[test]
fn every_backend_writes_what_it_says() {
    on_executor(|| async {
        for (_, backend) in Backend::ALL {
            let dir = tempfile::tempdir().expect("a directory");
            writes_read_back(dirs(&dir), backend).await;
        }
    });
}

/// A log that writes to a segment nobody prepared must learn so, with the file's name.
#[test]
fn a_missing_segment_is_a_fault_with_its_name() {
    on_executor(|| async {
        for (_, backend) in Backend::ALL {
            let dir = tempfile::tempdir().expect("a directory");
            let mut disk = Disk::start(dirs(&dir), backend).await.expect("the disk starts");
            let token = DiskToken(3);
            let data = block(1);
            disk.submit(DiskOp::WriteSegment { token, segment: SEGMENT, offset: 0, data });
            let done = complete(&mut disk, 1).await;
            let fault = done[&token].result.clone().expect_err("there is no such file");
            assert!(fault.cause.contains("log.0000000000000007"), "{}", fault.cause);
            assert!(!fault.out_of_space);
        }
    });
}

#[test]
fn small_files_are_replaced_and_segments_removed() {
    on_executor(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = dirs(&dir);
        let mut disk = Disk::start(dirs.clone(), Backend::Ring).await.expect("the disk starts");
        for (token, text) in [(1, "one"), (2, "two")] {
            disk.submit(DiskOp::ReplaceFile {
                token: DiskToken(token),
                file: SmallFile::EpochA,
                data: text.into(),
            });
        }
        complete(&mut disk, 2).await;
        let content = std::fs::read(dirs.small(SmallFile::EpochA)).expect("the file is there");
        assert_eq!(content, b"two");

        // Large enough to go in steps.
        let bytes = 3 * BYTES;
        disk.submit(DiskOp::PrepareSegment { token: DiskToken(3), segment: SEGMENT, bytes });
        complete(&mut disk, 1).await;
        disk.submit(DiskOp::RemoveSegment { token: DiskToken(4), segment: SEGMENT });
        disk.submit(DiskOp::RemoveSegment { token: DiskToken(6), segment: SEGMENT });
        disk.submit(DiskOp::MeasureSpace { token: DiskToken(5) });
        let done = complete(&mut disk, 3).await;
        assert!(done.values().all(|done| done.result.is_ok()), "{done:?}");
        let removed = dirs.segment(SEGMENT);
        assert!(!removed.exists() && !files::unfinished(&removed).exists());
        let Ok(DiskFact::Space { log_free, snapshot_free }) = done[&DiskToken(5)].result else {
            panic!("{done:?}");
        };
        assert!(log_free > 0 && snapshot_free > 0);
    });
}

/// A received state counts only once it is adopted, in place of an own one of the same zxid.
#[test]
fn received_snapshots_are_adopted_or_removed() {
    on_executor(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = dirs(&dir);
        let mut disk = Disk::start(dirs.clone(), Backend::Ring).await.expect("the disk starts");
        let version = engine::Draft::new(engine::draft::Settings::default()).freeze();
        let zxid = version.zxid();
        let write = |token, incoming| DiskOp::WriteSnapshot {
            token: DiskToken(token),
            version: version.clone(),
            incoming,
        };
        std::fs::write(dirs.snapshot(zxid), b"own").expect("a file");
        disk.submit(write(1, true));
        let done = complete(&mut disk, 1).await;
        assert!(matches!(done[&DiskToken(1)].result, Ok(DiskFact::SnapshotWritten { .. })));
        let content = std::fs::read(dirs.incoming(zxid)).expect("it is there");
        assert_eq!(std::fs::read(dirs.snapshot(zxid)).expect("a file"), b"own");
        // The second time it is done already.
        for token in [2, 3] {
            disk.submit(DiskOp::AdoptSnapshot { token: DiskToken(token), zxid });
            let done = complete(&mut disk, 1).await;
            assert_eq!(done[&DiskToken(token)].result, Ok(DiskFact::Done));
            assert_eq!(std::fs::read(dirs.snapshot(zxid)).expect("adopted"), content);
            assert!(!dirs.incoming(zxid).exists());
        }
        disk.submit(write(4, true));
        disk.submit(DiskOp::RemoveIncoming { token: DiskToken(5), zxid });
        disk.submit(DiskOp::RemoveIncoming { token: DiskToken(6), zxid });
        let done = complete(&mut disk, 3).await;
        assert!(done.values().all(|done| done.result.is_ok()), "{done:?}");
        assert!(dirs.snapshot(zxid).exists() && !dirs.incoming(zxid).exists());
        disk.submit(DiskOp::RemoveSnapshot { token: DiskToken(7), zxid });
        disk.submit(DiskOp::AdoptSnapshot { token: DiskToken(8), zxid });
        let done = complete(&mut disk, 2).await;
        assert!(done[&DiskToken(8)].result.is_err(), "there is nothing to adopt");
    });
}

/// The state that a server recovered leads into the snapshot's file: removing it must leave that
/// content alone, while one that the process wrote itself goes bit by bit.
#[test]
fn a_snapshot_that_may_be_mapped_keeps_its_content() {
    on_executor(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = dirs(&dir);
        let content = vec![7_u8; 3 << 20];
        std::fs::write(dirs.snapshot(model::Zxid(9)), &content).expect("a file");
        let image = crate::runtime::images::map_all(&dirs).expect("mapped");
        let mut disk = Disk::start(dirs.clone(), Backend::Ring).await.expect("the disk starts");
        disk.submit(DiskOp::RemoveSnapshot { token: DiskToken(1), zxid: model::Zxid(9) });
        let version = engine::Draft::new(engine::draft::Settings::default()).freeze();
        let own = version.zxid();
        disk.submit(DiskOp::WriteSnapshot { token: DiskToken(2), version, incoming: false });
        disk.submit(DiskOp::RemoveSnapshot { token: DiskToken(3), zxid: own });
        let done = complete(&mut disk, 3).await;
        assert!(done.values().all(|done| done.result.is_ok()), "{done:?}");
        assert_eq!(image.snapshots.len(), 1);
        assert!((*image.snapshots[0].1).as_ref() == content, "the mapping has its content");
        let left = std::fs::read_dir(dir.path()).expect("the directory");
        let names: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        assert!(names.is_empty(), "{names:?}");
    });
}

fn evidence(number: u64, state: bool) -> DiskOp {
    let version = engine::Draft::new(engine::draft::Settings::default()).freeze();
    DiskOp::KeepEvidence {
        token: DiskToken(number),
        zxid: model::Zxid(number as i64),
        text: format!("found {number}"),
        state: state.then_some(version),
    }
}

/// Names of everything in a directory that has to do with evidence.
fn evidence_names(dir: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path()).expect("a directory");
    let name = |entry: io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = entries.map(name).filter(|name| name.starts_with("evid")).collect();
    names.sort();
    names
}

fn named_evidence(numbers: &[u64]) -> Vec<String> {
    let both = |number: &u64| {
        [files::EVIDENCE_STATE, files::EVIDENCE_TEXT]
            .map(|ends| format!("evidence.{number:016x}{ends}"))
    };
    numbers.iter().flat_map(both).collect()
}

/// The newest few are kept, whichever came last among them, and a state can be read back.
#[test]
fn the_newest_evidence_is_kept() {
    on_executor(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = dirs(&dir);
        let mut disk = Disk::start(dirs.clone(), Backend::Ring).await.expect("the disk starts");
        let kept = EVIDENCE_KEPT as u64;
        for number in 1..=kept {
            disk.submit(evidence(number, true));
            let done = complete(&mut disk, 1).await;
            assert_eq!(done[&DiskToken(number)].result, Ok(DiskFact::Done));
        }
        let all: Vec<u64> = (1..=kept).collect();
        assert_eq!(evidence_names(&dir), named_evidence(&all), "none is one too many");
        disk.submit(evidence(kept, true));
        complete(&mut disk, 1).await;
        assert_eq!(evidence_names(&dir), named_evidence(&all), "the same place again");
        disk.submit(evidence(kept + 1, true));
        complete(&mut disk, 1).await;
        let later: Vec<u64> = (2..=kept + 1).collect();
        assert_eq!(evidence_names(&dir), named_evidence(&later), "the oldest goes, both files");
        disk.submit(evidence(1, true));
        complete(&mut disk, 1).await;
        let last: Vec<u64> = [1].into_iter().chain(3..=kept + 1).collect();
        assert_eq!(evidence_names(&dir), named_evidence(&last), "never what was just written");

        let zxid = model::Zxid(1);
        let text = std::fs::read(dirs.evidence(zxid, files::EVIDENCE_TEXT)).expect("a text");
        assert_eq!(text, b"found 1");
        let file = std::fs::read(dirs.evidence(zxid, files::EVIDENCE_STATE)).expect("a state");
        let image: engine::recover::Image = Arc::new(file);
        let image = engine::recover::DiskImage {
            snapshots: vec![(model::Zxid::ZERO, image)],
            ..engine::recover::DiskImage::default()
        };
        let settings = engine::draft::Settings::default();
        let log = engine::log::LogSettings { segment_bytes: BYTES, writes_max: 1, log_id: 1 };
        let found = engine::recover::recover(&image, settings, log, &engine::recover::Inline);
        let found = found.expect("it has the format of snapshots");
        assert!(found.report.unusable.is_empty(), "{:?}", found.report);
        assert!(found.report.znodes > 0);
    });
}

/// A state that is left out leaves none of an earlier finding beside the new text.
#[test]
fn evidence_without_a_state_has_no_older_one() {
    on_executor(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        let mut disk = Disk::start(dirs(&dir), Backend::Ring).await.expect("the disk starts");
        for state in [true, false] {
            disk.submit(evidence(9, state));
            let done = complete(&mut disk, 1).await;
            assert_eq!(done[&DiskToken(9)].result, Ok(DiskFact::Done));
        }
        assert_eq!(evidence_names(&dir), ["evidence.0000000000000009.txt"]);
    });
}

/// A disk that is full at the state or at the text: it is said, nothing half remains, what was
/// kept before stays, and the next time it works.
#[test]
fn evidence_on_a_full_disk_leaves_nothing() {
    on_executor(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = dirs(&dir);
        let mut disk = Disk::start(dirs.clone(), Backend::Ring).await.expect("the disk starts");
        disk.submit(evidence(4, true));
        complete(&mut disk, 1).await;
        for full in [files::EVIDENCE_STATE, files::EVIDENCE_TEXT] {
            let temporary = files::unfinished(&dirs.evidence(model::Zxid(5), full));
            std::os::unix::fs::symlink("/dev/full", temporary).expect("a link");
            disk.submit(evidence(5, true));
            let done = complete(&mut disk, 1).await;
            let fault = done[&DiskToken(5)].result.clone().expect_err("there is no space");
            assert!(fault.out_of_space, "{}", fault.cause);
            assert!(fault.cause.contains("evidence.0000000000000005"), "{}", fault.cause);
            assert_eq!(evidence_names(&dir), named_evidence(&[4]), "full at {full}");
        }
        disk.submit(evidence(5, true));
        let done = complete(&mut disk, 1).await;
        assert_eq!(done[&DiskToken(5)].result, Ok(DiskFact::Done));
        assert_eq!(evidence_names(&dir), named_evidence(&[4, 5]));
    });
}

/// glommio probes a device with the first file that it opens there. Taken in by an empty one, it
/// believes that the device can be polled, and from then on every read fails with error 95 and a
/// write costs a scheduler tick. With the priming file first, an empty file does no harm.
#[test]
fn an_empty_file_after_priming_can_be_read_back() {
    on_executor(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        glommio_file::prime(dir.path()).await.expect("priming works");
        let file = glommio::io::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .dma_open(dir.path().join("empty"))
            .await
            .expect("the file opens");
        let mut buffer = file.alloc_dma_buffer(ALIGN);
        buffer.as_bytes_mut().fill(9);
        file.write_at(buffer, 0).await.expect("a write");
        let read = file.read_at_aligned(0, ALIGN).await.expect("no error 95");
        assert_eq!(read.len(), ALIGN);
        assert!(read.iter().all(|byte| *byte == 9));
        file.close().await.expect("closing works");
    });
}

/// What a crash left unfinished is swept away, and nothing else.
#[test]
fn unfinished_files_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let dirs = dirs(&dir);
    let (kept, swept) = (dirs.segment(SEGMENT), files::unfinished(&dirs.segment(SegmentId(8))));
    std::fs::write(&kept, b"kept").expect("a file");
    std::fs::write(&swept, b"swept").expect("a file");
    files::remove_unfinished(dir.path()).expect("sweeping works");
    assert!(kept.exists() && !swept.exists());
}
