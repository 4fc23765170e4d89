use super::*;
use proptest::prelude::*;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}

fn chain() -> Vec<Vec<u8>> {
    let fixture = include_str!("../../fixtures/digest_chain.txt");
    fixture.lines().filter(|line| !line.starts_with('#')).map(unhex).collect()
}

#[test]
fn captured_entries_round_trip() {
    let chain = chain();
    assert_eq!(chain.len(), 22);
    for entry in &chain {
        let (header, txn, digest) = decode_entry(entry).expect("captured entries decode");
        let mut again = Vec::new();
        encode_entry(&header, &txn, digest, &mut Writer::new(&mut again));
        assert_eq!(&again, entry, "{txn:?}");
    }
}

#[test]
fn a_failed_multi_keeps_its_parts() {
    let chain = chain();
    let (_, txn, _) = decode_entry(&chain[14]).expect("decodes");
    let Txn::Multi(parts) = txn else { panic!("not a multi: {txn:?}") };
    assert_eq!(parts[1], Txn::Error { code: -101 });
    assert_eq!(parts[2], Txn::Error { code: -2 });
}

#[test]
fn a_close_session_without_record_keeps_its_digest() {
    let header = TxnHeader { session: SessionId(7), zxid: Zxid(9), ..TxnHeader::default() };
    let txn = Txn::CloseSession { paths: None };
    for digest in [None, Some(TxnDigest(0x51C6_D660))] {
        let mut entry = Vec::new();
        encode_entry(&header, &txn, digest, &mut Writer::new(&mut entry));
        assert_eq!(decode_entry(&entry), Ok((header, txn.clone(), digest)));
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail_without_panic(
        bytes: Vec<u8>,
        cut in 0usize..200,
        pick in 0usize..22,
    ) {
        let _ = decode_entry(&bytes);
        let entry = &chain()[pick];
        let mut damaged = entry[..cut.min(entry.len())].to_vec();
        damaged.extend_from_slice(&bytes);
        let _ = decode_entry(&damaged);
    }
}
