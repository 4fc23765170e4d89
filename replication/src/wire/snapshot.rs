//! Finds the end of a snapshot stream, which has no length (`zab-wire` 2.8).
//!
//! The content is the caller's business; only the layout is walked here.

use super::WireError;

const SIGNATURE: &[u8] = b"BenWasHere";

/// What the walk expects next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    SessionCount,
    Sessions,
    AclCount,
    AclId,
    AclEntryCount,
    AclPerms,
    AclScheme,
    AclName,
    Path,
    PathByte,
    Data,
    Fields,
    SignatureLen,
    Signature,
    End,
}

/// Walks a stream that arrives in pieces.
#[derive(Clone, Debug)]
pub struct SnapshotScanner {
    expect: Expect,
    /// Bytes of the current field still to skip.
    skip: u64,
    /// First bytes of a number, of a path of length one, or of the signature.
    head: [u8; SIGNATURE.len()],
    have: usize,
    acls: u32,
    acl_entries: u32,
    field_max: usize,
}

/// How a piece ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// Bytes of the piece that belong to the stream.
    pub consumed: usize,
    /// The stream ends there.
    pub complete: bool,
}

impl SnapshotScanner {
    /// At the beginning of a stream; no string or data in it may exceed `field_max`.
    pub fn new(field_max: usize) -> SnapshotScanner {
        SnapshotScanner {
            expect: Expect::SessionCount,
            skip: 0,
            head: [0; SIGNATURE.len()],
            have: 0,
            acls: 0,
            acl_entries: 0,
            field_max,
        }
    }

    /// Walks over a piece.
    pub fn scan(&mut self, piece: &[u8]) -> Result<Scanned, WireError> {
        let mut at = 0;
        while self.expect != Expect::End {
            if self.skip > 0 {
                let step = self.skip.min((piece.len() - at) as u64);
                at += step as usize;
                self.skip -= step;
                if self.skip > 0 {
                    break;
                }
                continue;
            }
            let want = match self.expect {
                Expect::SessionCount
                | Expect::AclCount
                | Expect::AclEntryCount
                | Expect::AclScheme
                | Expect::AclName
                | Expect::Path
                | Expect::Data
                | Expect::SignatureLen => 4,
                Expect::PathByte => 1,
                Expect::Signature => SIGNATURE.len(),
                Expect::Sessions
                | Expect::AclId
                | Expect::AclPerms
                | Expect::Fields
                | Expect::End => 0,
            };
            let step = (want - self.have).min(piece.len() - at);
            self.head[self.have..self.have + step].copy_from_slice(&piece[at..at + step]);
            at += step;
            self.have += step;
            if self.have < want {
                break;
            }
            self.have = 0;
            self.advance()?;
        }
        Ok(Scanned { consumed: at, complete: self.expect == Expect::End })
    }

    fn number(&self) -> i32 {
        i32::from_be_bytes([self.head[0], self.head[1], self.head[2], self.head[3]])
    }

    /// A count, null read as none.
    fn count(&self) -> Result<u32, WireError> {
        match self.number() {
            -1 => Ok(0),
            len => u32::try_from(len).map_err(|_| WireError::Length { len, max: usize::MAX }),
        }
    }

    /// A length, null read as zero.
    fn len(&self) -> Result<u64, WireError> {
        match self.number() {
            -1 => Ok(0),
            len if len < 0 || len as usize > self.field_max => {
                Err(WireError::Length { len, max: self.field_max })
            }
            len => Ok(len as u64),
        }
    }

    fn advance(&mut self) -> Result<(), WireError> {
        self.expect = match self.expect {
            Expect::SessionCount => {
                self.skip = u64::from(self.count()?) * 12;
                Expect::Sessions
            }
            Expect::Sessions => Expect::AclCount,
            Expect::AclCount => {
                self.acls = self.count()?;
                self.next_acl()
            }
            Expect::AclId => Expect::AclEntryCount,
            Expect::AclEntryCount => {
                self.acl_entries = self.count()?;
                self.next_acl_entry()
            }
            Expect::AclPerms => Expect::AclScheme,
            Expect::AclScheme => {
                self.skip = self.len()?;
                Expect::AclName
            }
            Expect::AclName => {
                self.skip = self.len()?;
                self.next_acl_entry()
            }
            Expect::Path => match self.len()? {
                1 => Expect::PathByte,
                len => {
                    self.skip = len;
                    Expect::Data
                }
            },
            Expect::PathByte if self.head[0] == b'/' => Expect::SignatureLen,
            Expect::PathByte => Expect::Data,
            Expect::Data => {
                self.skip = self.len()?;
                Expect::Fields
            }
            Expect::Fields => {
                // Reached when the data is over: seven longs and three ints of stat, the ACL id.
                self.skip = 68;
                Expect::Path
            }
            Expect::SignatureLen if self.number() as usize == SIGNATURE.len() => Expect::Signature,
            Expect::SignatureLen => return Err(WireError::BadSignature),
            Expect::Signature if self.head == SIGNATURE => Expect::End,
            Expect::Signature => return Err(WireError::BadSignature),
            Expect::End => Expect::End,
        };
        Ok(())
    }

    // The bytes to skip here lie behind the field that may still have to be skipped, hence `+=`.

    fn next_acl(&mut self) -> Expect {
        if self.acls == 0 {
            return Expect::Path;
        }
        self.acls -= 1;
        self.skip += 8;
        Expect::AclId
    }

    fn next_acl_entry(&mut self) -> Expect {
        if self.acl_entries == 0 {
            return self.next_acl();
        }
        self.acl_entries -= 1;
        self.skip += 4;
        Expect::AclPerms
    }
}
