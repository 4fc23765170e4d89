//! Log writes through glommio's direct-I/O files opened with `O_DSYNC`.
//!
//! Two traps of glommio 0.9.0 are handled here. The first file that an executor opens on a device
//! must not be empty, or glommio takes the device for one that can be polled, burns a core while
//! anything is in flight and fails every read with error 95; hence the priming file. And a buffer
//! must be copied into glommio's own.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use engine::disk::{DiskFact, DiskFault, SegmentId};
use glommio::io::{DmaFile, OpenOptions};

use super::{Completions, Dirs, LogWrite, fault, judge};

type OpenFiles = Rc<RefCell<Vec<(SegmentId, Rc<DmaFile>)>>>;

/// The log's files on this executor.
pub(crate) struct GlommioLog {
    dirs: Dirs,
    open: OpenFiles,
    completions: Completions,
}

impl GlommioLog {
    pub(crate) async fn start(dirs: &Dirs, completions: Completions) -> io::Result<GlommioLog> {
        prime(&dirs.log).await?;
        Ok(GlommioLog { dirs: dirs.clone(), open: OpenFiles::default(), completions })
    }

    pub(crate) fn submit(&mut self, write: LogWrite) {
        let (open, dirs) = (Rc::clone(&self.open), self.dirs.clone());
        let completions = self.completions.clone();
        glommio::spawn_local(async move {
            let token = write.token;
            let result = carry_out(&open, &dirs, write).await;
            completions.push(token, result);
        })
        .detach();
    }

    pub(crate) fn forget(&mut self, segment: SegmentId) {
        self.open.borrow_mut().retain(|(id, _)| *id != segment);
    }
}

async fn carry_out(open: &OpenFiles, dirs: &Dirs, write: LogWrite) -> Result<DiskFact, DiskFault> {
    let path = dirs.segment(write.segment);
    let known = open.borrow().iter().find(|(id, _)| *id == write.segment).map(|(_, f)| f.clone());
    let file = if let Some(file) = known {
        file
    } else {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DSYNC)
            .dma_open(&path)
            .await;
        let file = Rc::new(opened.map_err(|e| fault("opening", &path, &io::Error::from(e)))?);
        open.borrow_mut().push((write.segment, file.clone()));
        file
    };
    let length = write.data.len();
    let mut buffer = file.alloc_dma_buffer(length);
    if buffer.len() > length {
        buffer.trim_to_size(length);
    }
    buffer.as_bytes_mut().copy_from_slice(write.data.as_slice());
    let written = file.write_at(buffer, write.offset).await.map_err(io::Error::from);
    judge((&path, write.offset, length), written)
}

/// Lets glommio make up its mind about the device with a file that is not empty. Once per
/// executor and directory, before the first direct-I/O file.
pub(crate) async fn prime(dir: &Path) -> io::Result<()> {
    let path = dir.join(".io-probe");
    if std::fs::metadata(&path).map_or(0, |facts| facts.len()) < 4096 {
        std::fs::write(&path, vec![0u8; 8192])?;
        std::fs::File::open(&path)?.sync_all()?;
    }
    DmaFile::open(&path).await?.close().await?;
    Ok(())
}
