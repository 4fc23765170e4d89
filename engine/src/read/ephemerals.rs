//! getEphemerals.

use model::SessionId;

use crate::state::Version;

/// The session's own ephemerals whose paths start with a string; it need not end at a slash. Null,
/// blank and `/` mean all. No permission is needed.
pub fn ephemerals<'v>(
    version: &'v Version,
    session: SessionId,
    prefix: Option<&[u8]>,
) -> impl Iterator<Item = &'v [u8]> + use<'v> {
    let prefix = prefix.filter(|prefix| !prefix.trim_ascii().is_empty()).unwrap_or(b"/").to_vec();
    let owned = version.tables().ephemerals.get(&session);
    owned.into_iter().flatten().map(|path| &**path).filter(move |path| path.starts_with(&prefix))
}
