//! Whatever the bytes, reading ends without panic and with places inside of the file.

use leno_api::read;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read("x.yaml", &bytes);
    }

    #[test]
    fn yaml_like_text_never_panics(text in "([a-z]{0,4}[:\\-\\[\\]{}&*!|>'\"# \\n\\t,]{1,3}){0,60}") {
        let parsed = read("x.yaml", text.as_bytes());
        let lines = text.lines().count() as u32 + 2;
        for diagnostic in &parsed.diagnostics {
            prop_assert!(diagnostic.place.line <= lines, "{diagnostic}");
        }
    }

    #[test]
    fn a_good_file_cut_or_overwritten_anywhere_never_panics(at in 0usize..1500, with in proptest::collection::vec(any::<u8>(), 0..6), cut in any::<bool>()) {
        let good = include_str!("good.yaml").as_bytes();
        let at = at.min(good.len());
        let mut bytes = good[..at].to_vec();
        bytes.extend(&with);
        if !cut {
            bytes.extend(&good[(at + with.len()).min(good.len())..]);
        }
        let _ = read("x.yaml", &bytes);
    }
}
