//! What must hold after every step, and whether a healed world has come together.

use super::*;

impl World {
    /// Committed histories agree, nothing committed is lost, and a quorum has it durably.
    pub(super) fn on_commit(&mut self, id: u8, upto: Zxid) {
        let node = &self.nodes[&id];
        let mine: Vec<Entry> = node.log.iter().filter(|(z, _)| *z <= upto).cloned().collect();
        if node.stable.last() < upto {
            self.fail(format!("{id} reports {upto:?} as committed before it is durable there"));
        }
        let shared = mine.len().min(self.truth.len());
        if mine[..shared] != self.truth[..shared] {
            let at = (0..shared).find(|i| mine[*i] != self.truth[*i]).expect("they differ");
            let (have, other) = (&mine[at], &self.truth[at]);
            return self.fail(format!("{id} commits {have:?} where {other:?} was committed"));
        }
        for (zxid, entry) in &mine[shared..] {
            let has = |id: &u8| {
                self.nodes[id].stable.log.iter().any(|held| held == &(*zxid, entry.clone()))
            };
            let holders = (1..=self.setup.voters).filter(has).count();
            if holders <= usize::from(self.setup.voters) / 2 {
                return self.fail(format!("{id} commits {zxid:?} that only {holders} have"));
            }
        }
        if mine.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            self.fail(format!("{id} has entries out of order"));
        }
        self.truth.extend_from_slice(&mine[shared..]);
        let text = |(zxid, entry): &Entry| format!("{zxid:?} {}", String::from_utf8_lossy(entry));
        let last = mine.last().map_or_else(String::new, text);
        self.note(id, &format!("commit {last}"));
    }

    /// What a leader says of its state is what its learner has. Only a leader that has nothing but
    /// its snapshot can say so here, where entries carry no digest.
    pub(super) fn on_exact(&mut self, id: u8, at: Zxid, digest: Option<u64>) {
        let Some(theirs) = digest else { return };
        self.compared += 1;
        let log = &self.nodes[&id].log;
        if log.last().map_or(Zxid::ZERO, |(last, _)| *last) != at {
            self.fail(format!("{id} is said to be at {at:?}, and is not"));
        } else if digest_upto(log, at) != theirs {
            self.fail(format!("{id} has another state at {at:?} than its leader says"));
        }
    }

    /// One leader an epoch, and it has everything that was ever committed.
    pub(super) fn on_role(&mut self, id: u8, role: RoleKind) {
        let life = self.nodes[&id].life;
        self.node(id).role = role;
        let text = match role {
            RoleKind::Looking => "looking".to_owned(),
            RoleKind::Standalone => "standalone".to_owned(),
            RoleKind::Leading(epoch) => format!("leading epoch {}", epoch.0),
            RoleKind::Following(leader, epoch) => {
                format!("following {} in epoch {}", leader.0, epoch.0)
            }
            RoleKind::Observing(leader, epoch) => {
                format!("observing {} in epoch {}", leader.0, epoch.0)
            }
        };
        self.note(id, &text);
        let RoleKind::Leading(epoch) = role else { return };
        self.node(id).next = Zxid::new(epoch, 1);
        if let Some((other, _)) = self.leaders.insert(epoch, (id, life)) {
            self.fail(format!("{id} leads epoch {} that {other} has led", epoch.0));
        }
        let log = &self.nodes[&id].log;
        if log.len() < self.truth.len() || log[..self.truth.len()] != self.truth[..] {
            self.fail(format!("{id} leads epoch {} without the committed history", epoch.0));
        }
    }

    /// Whatever a learner acknowledges is on its disk, with everything before it: an
    /// acknowledgement may stand for a run.
    pub(super) fn check_said(&mut self, id: u8, conn: u64, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        if conn.port != Port::Quorum || conn.ends[0].as_ref().is_none_or(|end| end.node != id) {
            return;
        }
        conn.said.push(bytes);
        let stable = &self.nodes[&id].stable;
        let (last, epochs) = (stable.last(), stable.epochs);
        let mut wrong = None;
        while let Some(packet) = conn.said.next(1 << 20).expect("we speak correctly") {
            match packet {
                Packet::Ack { zxid } if zxid.counter() == 0 => {
                    if epochs.current < zxid.epoch() {
                        wrong = Some(format!("{id} acknowledges {zxid:?} with {epochs:?} saved"));
                    } else if last != self.nodes[&id].log.last().map_or(last, |(z, _)| *z)
                        && self.nodes[&id]
                            .log
                            .iter()
                            .any(|(z, _)| *z > last && z.epoch() < zxid.epoch())
                    {
                        wrong = Some(format!("{id} acknowledges a history it has not got"));
                    }
                }
                Packet::Ack { zxid } if zxid > last => {
                    wrong = Some(format!("{id} acknowledges {zxid:?} and has {last:?}"));
                }
                Packet::AckEpoch { zxid, .. } if zxid > last => {
                    wrong = Some(format!("{id} reports {zxid:?} and has {last:?}"));
                }
                _ => {}
            }
        }
        if let Some(wrong) = wrong {
            self.fail(wrong);
        }
    }

    /// Notes acknowledgements and commits, and to whom they go.
    pub(super) fn tell(&mut self, id: u8, conn: u64, bytes: &[u8]) {
        let conn = &self.conns[&conn];
        let dialed = conn.ends[0].as_ref().map(|end| end.node);
        let (Port::Quorum, Some(dialed)) = (conn.port, dialed) else { return };
        let to = if dialed == id { conn.peer } else { dialed };
        let mut buffer = PacketBuffer::default();
        buffer.push(bytes);
        let mut told = Vec::new();
        while let Some(packet) = buffer.next(1 << 20).expect("we speak correctly") {
            match packet {
                Packet::Ack { zxid } => told.push(format!("ack {zxid:?} to {to}")),
                Packet::Commit { zxid } => told.push(format!("say commit {zxid:?} to {to}")),
                _ => {}
            }
        }
        for line in told {
            self.note(id, &line);
        }
    }

    /// True if one leader is established and everybody else is with it, at the same point.
    pub fn has_converged(&self) -> bool {
        let mut epochs = BTreeSet::new();
        let mut leaders = 0;
        for node in self.nodes.values() {
            match node.role {
                RoleKind::Leading(epoch) => {
                    leaders += 1;
                    epochs.insert(epoch);
                }
                RoleKind::Following(_, epoch) | RoleKind::Observing(_, epoch) => {
                    epochs.insert(epoch);
                }
                RoleKind::Looking | RoleKind::Standalone => return false,
            }
        }
        leaders == 1
            && epochs.len() == 1
            && self.nodes.values().all(|node| node.stable.log == self.truth)
    }

    pub fn summary(&self) -> String {
        let one = |(id, node): (&u8, &Node)| {
            format!(
                "{id}: {:?} {:?} last {:?} committed {:?}",
                node.role,
                node.stable.epochs,
                node.stable.last(),
                node.replica.as_ref().map(Replica::committed)
            )
        };
        self.nodes.iter().map(one).collect::<Vec<_>>().join("\n")
    }
}
