//! What a fellow server sends on the replication connection, cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::jute::Writer;
use replication::wire::handshake::LearnerCard;
use replication::wire::packet::{Packet, PacketBuffer};

const DATA_MAX: usize = 2_097_150;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(card) = LearnerCard::decode(bytes) {
        let mut again = Vec::new();
        card.encode(&mut Writer::new(&mut again));
        assert_eq!(again.len(), card.encoded_len());
        assert_eq!(LearnerCard::decode(&again), Ok(card));
    }
    let Some((&cut, stream)) = bytes.split_first() else { return };
    let cut = usize::from(cut).min(stream.len());
    let mut buffer = PacketBuffer::default();
    for piece in [&stream[..cut], &stream[cut..]] {
        buffer.push(piece);
        loop {
            match buffer.next(DATA_MAX) {
                Ok(Some(packet)) => {
                    let wire = packet.to_bytes();
                    assert_eq!(Packet::decode(&wire).as_ref(), Ok(&packet));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
