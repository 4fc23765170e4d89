use super::*;

/// A page of these names, put together from scratch.
fn page_of(names: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::default();
    for (id, name) in names {
        builder.push(*id, name);
    }
    builder.page().to_vec()
}

/// One name more or less in a page that is otherwise moved as it is: the same bytes as those
/// of a page that was made from scratch.
#[test]
fn a_page_with_one_name_more_or_less_is_the_page_made_from_scratch() {
    let mut names: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut builder = Builder::default();
    let mut seed = 7_u64;
    let (mut grown, mut shrunk) = (0, 0);
    for _ in 0..4000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pick = (seed >> 33) as usize;
        let key = ((pick % 7) as u64 * 11, format!("n{}", pick / 7 % 500).into_bytes());
        let before = page_of(&names);
        let page = Page::within(&before);
        match names.binary_search(&key) {
            Ok(at) if names.len() > 1 => {
                let changed = builder.without_name(&page, key.0, at).expect("a narrow page");
                names.remove(at);
                assert_eq!(changed, page_of(&names));
                shrunk += 1;
            }
            Err(at) if names.len() < 60 && !names.is_empty() => {
                assert_eq!(page.find(key.0, &key.1), Err(at));
                let changed = builder.with_name(&page, key.0, at, &key.1);
                let changed = changed.expect("a narrow page").to_vec();
                names.insert(at, key);
                assert_eq!(changed, page_of(&names));
                assert!(Page::new(&changed).is_ok());
                grown += 1;
            }
            Err(at) if names.is_empty() => names.insert(at, key),
            _ => {
                let at = pick % names.len();
                let changed = builder.without_name(&page, names[at].0, at).expect("narrow");
                let changed = changed.to_vec();
                names.remove(at);
                assert_eq!(changed, page_of(&names));
                shrunk += 1;
            }
        }
    }
    assert!(grown > 1000 && shrunk > 1000, "{grown} {shrunk}");
}

#[test]
fn a_page_that_is_or_gets_wide_is_made_from_scratch() {
    let mut builder = Builder::default();
    let long = vec![b'x'; 40_000];
    let narrow = page_of(&[(1, long.clone())]);
    assert_eq!(builder.with_name(&Page::within(&narrow), 1, 1, &long), None);
    let wide = page_of(&[(1, long), (1, vec![b'y'; 40_000])]);
    assert_eq!(builder.with_name(&Page::within(&wide), 1, 0, b"a"), None);
    assert_eq!(builder.without_name(&Page::within(&wide), 1, 0), None);
}
