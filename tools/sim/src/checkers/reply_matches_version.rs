//! Every read's answer equals the state at the zxid in its header: the strongest check there is,
//! because replies carry zxids.

use engine::Version;
use model::{ErrorCode, SessionId, Stat, Zxid};
use protocol::{Answer, MultiResult, Names};

use super::{Checker, Seen};
use crate::client::{Asked, Pending, private_list};
use crate::history::History;

/// See the module.
pub(super) struct ReplyMatchesVersion;

impl Checker for ReplyMatchesVersion {
    fn name(&self) -> &'static str {
        "reply_matches_version"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Replied { client, session, pending, header, answer } = seen else {
            return Ok(());
        };
        let outcome = match answer {
            Some(answer) => Ok(*answer),
            None => Err(header.err),
        };
        let asker = Asker { keeper: history.keepers.contains(client), session: *session };
        compare(history, asker, pending, header.zxid, outcome)
            .map_err(|why| format!("{:?} answered at {:?}: {why}", pending.asked, header.zxid))
    }
}

/// Who asked.
#[derive(Clone, Copy)]
struct Asker {
    keeper: bool,
    session: SessionId,
}

impl Asker {
    /// What a read of a path must fail with, if it must.
    fn refusal(self, version: &Version, path: &[u8]) -> Option<i32> {
        let Some(znode) = version.view().get(path) else {
            return Some(ErrorCode::NoNode.code());
        };
        let private = version.acl(znode.meta.acl) == private_list();
        (private && !self.keeper).then_some(ErrorCode::NoAuth.code())
    }
}

fn compare(
    history: &History,
    asker: Asker,
    pending: &Pending,
    zxid: Zxid,
    answer: Result<&Answer<'_>, i32>,
) -> Result<(), String> {
    match (&pending.asked, answer) {
        (Asked::GetAcl(path), Err(err)) => {
            let found = history.at(zxid)?.view().get(path).is_some();
            if err != ErrorCode::NoNode.code() || found {
                return Err(format!("error {err}, and the znode exists there: {found}"));
            }
        }
        (
            Asked::Exists(path, _)
            | Asked::GetData(path, _)
            | Asked::GetChildren(path, _)
            | Asked::CountAll(path),
            Err(err),
        ) => {
            let right = asker.refusal(history.at(zxid)?, path);
            if right != Some(err) {
                return Err(format!("error {err}, right is {right:?}"));
            }
        }
        (
            Asked::Exists(path, _)
            | Asked::GetData(path, _)
            | Asked::GetChildren(path, _)
            | Asked::CountAll(path),
            Ok(_),
        ) if asker.refusal(history.at(zxid)?, path).is_some() => {
            return Err("it must not be read".to_owned());
        }
        (Asked::GetChildren(path, _), Ok(Answer::Children(names))) => {
            same_children(history, zxid, path, names)?;
        }
        (Asked::GetAcl(path), Ok(Answer::AclStat(list, stat))) => {
            same_stat(history, zxid, path, stat)?;
            let version = history.at(zxid)?;
            let real = version.view().get(path).map(|znode| version.acl(znode.meta.acl));
            if real != Some(*list) {
                return Err(format!("told {list:?}, is {real:?}"));
            }
        }
        (Asked::GetEphemerals, Ok(Answer::Children(told))) => {
            let owner = asker.session.0;
            let view = history.at(zxid)?.view();
            let own = view.iter().filter(|(_, znode)| znode.meta.owner == owner);
            let mut real: Vec<&[u8]> = own.map(|(path, _)| path).collect();
            let mut told: Vec<&[u8]> = told.iter().collect();
            real.sort_unstable();
            told.sort_unstable();
            if real != told {
                return Err(format!("told {told:?}, is {real:?}"));
            }
        }
        (Asked::CountAll(path), Ok(Answer::Count(told))) => {
            let mut stem = path.clone();
            stem.push(b'/');
            let view = history.at(zxid)?.view();
            let real = view.iter().filter(|(below, _)| below.starts_with(&stem)).count();
            if real != *told as usize {
                return Err(format!("told {told}, is {real}"));
            }
        }
        (Asked::WhoAmI, Ok(Answer::Identities(told))) => {
            let real = told.contains(&(b"digest", b"keeper"));
            if real != asker.keeper {
                return Err(format!("told {told:?}, is the keeper: {}", asker.keeper));
            }
        }
        (Asked::Auth, Ok(Answer::Done)) if zxid == Zxid::ZERO => {}
        (Asked::Exists(path, _), Ok(Answer::Stat(stat))) => {
            same_stat(history, zxid, path, stat)?;
        }
        (Asked::GetData(path, _), Ok(Answer::DataStat(data, stat))) => {
            same_data(history, zxid, path, *data, stat)?;
        }
        (Asked::GetChildren(path, _), Ok(Answer::ChildrenStat(names, stat))) => {
            same_stat(history, zxid, path, stat)?;
            same_children(history, zxid, path, names)?;
        }
        (Asked::MultiRead(first, second), Ok(Answer::Multi(parts))) => {
            for (path, part) in [first, second].into_iter().zip(parts) {
                match part {
                    MultiResult::Data(data, stat)
                        if asker.refusal(history.at(zxid)?, path).is_none() =>
                    {
                        same_data(history, zxid, path, *data, stat)?;
                    }
                    MultiResult::Failed(err)
                        if asker.refusal(history.at(zxid)?, path) == Some(*err) => {}
                    other => return Err(format!("part {other:?}")),
                }
            }
        }
        (
            Asked::Exists(..)
            | Asked::GetData(..)
            | Asked::GetChildren(..)
            | Asked::GetAcl(_)
            | Asked::GetEphemerals
            | Asked::CountAll(_)
            | Asked::WhoAmI
            | Asked::Auth
            | Asked::MultiRead(..),
            other,
        ) => return Err(format!("the answer {other:?} has the wrong form")),
        (
            Asked::Write(_)
            | Asked::Multi
            | Asked::Sync
            | Asked::Ping
            | Asked::AddWatch(..)
            | Asked::CheckWatches(_)
            | Asked::RemoveWatches(_)
            | Asked::SetWatches(..)
            | Asked::Close
            | Asked::Malformed,
            _,
        ) => {}
    }
    Ok(())
}

fn same_stat(history: &History, zxid: Zxid, path: &[u8], stat: &Stat) -> Result<(), String> {
    match history.at(zxid)?.view().get(path) {
        Some(znode) if znode.stat() == *stat => Ok(()),
        other => Err(format!("told {stat:?}, is {other:?}")),
    }
}

fn same_data(
    history: &History,
    zxid: Zxid,
    path: &[u8],
    data: Option<&[u8]>,
    stat: &Stat,
) -> Result<(), String> {
    same_stat(history, zxid, path, stat)?;
    match history.at(zxid)?.view().get(path) {
        Some(znode) if znode.data == data => Ok(()),
        other => Err(format!("told {data:?}, is {other:?}")),
    }
}

fn same_children(
    history: &History,
    zxid: Zxid,
    path: &[u8],
    told: &Names<'_>,
) -> Result<(), String> {
    let version = history.at(zxid)?;
    let view = version.view();
    let mut real: Vec<&[u8]> = view.children(path).into_iter().flatten().collect();
    let mut told: Vec<&[u8]> = told.iter().collect();
    real.sort_unstable();
    told.sort_unstable();
    if real == told { Ok(()) } else { Err(format!("told {told:?}, is {real:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::{Maker, header, pending};
    use model::{OpCode, SessionId};

    #[test]
    fn a_stale_or_wrong_answer_is_caught() {
        let mut maker = Maker::new();
        let version = maker.create("/p0");
        let stat = version.view().get(b"/p0").expect("just made").stat();
        let pending = pending(OpCode::GetData, Asked::GetData(b"/p0".to_vec(), false), 0);
        let see = |zxid, err, answer: Option<&Answer<'_>>| {
            ReplyMatchesVersion.see(
                &maker.history,
                &Seen::Replied {
                    client: 0,
                    session: SessionId(1),
                    pending: &pending,
                    header: header(1, zxid, err),
                    answer,
                },
            )
        };
        assert_eq!(see(1, 0, Some(&Answer::DataStat(Some(b"x"), stat))), Ok(()));
        assert!(see(1, 0, Some(&Answer::DataStat(Some(b"y"), stat))).is_err(), "wrong data");
        assert!(see(1, -101, None).is_err(), "it does exist");
        assert_eq!(see(0, -101, None), Ok(()), "not yet then");
        assert!(see(7, -101, None).is_err(), "no such version");
    }
}
