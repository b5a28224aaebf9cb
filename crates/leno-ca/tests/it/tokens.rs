//! Join tokens on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use leno_ca::{Binding, TokenError, TokenGrant, TokenStore, TokenStoreError};

use crate::{DAY, now, reviews};

#[test]
fn the_local_token_is_made_once_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TokenStore::open(dir.path()).unwrap();
    let token = store.local(now()).unwrap();
    let mut again = TokenStore::open(dir.path()).unwrap();
    assert_eq!(again.local(now()).unwrap(), token);
    assert!(again.verify(&token, now() + DAY * 9999).unwrap().reusable);
    assert_eq!(fs::read_to_string(store.local_path()).unwrap().trim(), token);
    for file in ["token", "tokens.json"] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let list = fs::read_to_string(dir.path().join("tokens.json")).unwrap();
    assert!(
        !list.contains(token.strip_prefix("leno_join_").unwrap()),
        "only its hash may be stored"
    );
    assert_eq!(again.list().count(), 1);
}

#[test]
fn a_lost_list_takes_the_local_token_up_again_and_a_lost_token_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let token = TokenStore::open(dir.path()).unwrap().local(now()).unwrap();
    fs::remove_file(dir.path().join("tokens.json")).unwrap();
    let mut store = TokenStore::open(dir.path()).unwrap();
    assert_eq!(store.verify(&token, now()), Err(TokenError::Unknown));
    assert_eq!(store.local(now()).unwrap(), token);
    assert!(store.verify(&token, now()).is_ok());
    fs::write(store.local_path(), "not a token").unwrap();
    assert_ne!(store.local(now()).unwrap(), token);
}

#[test]
fn wrong_and_expired_tokens_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TokenStore::open(dir.path()).unwrap();
    let grant = TokenGrant {
        expires: Some(now() + DAY),
        reusable: true,
        ..TokenGrant::default()
    };
    let (_, token) = store.create(grant, now()).unwrap();
    assert!(
        store.verify(&format!(" {token}\n"), now()).is_ok(),
        "as read from a file"
    );
    let late = store.verify(&token, now() + DAY).unwrap_err();
    assert_eq!(
        late,
        TokenError::Expired {
            at: (now() + DAY).into()
        }
    );
    assert!(late.to_string().contains("2026-01-02"), "{late}");
    for malformed in [
        "",
        "secret",
        &token[..20],
        &token.to_uppercase(),
        &format!("{token}0"),
    ] {
        assert_eq!(
            store.verify(malformed, now()),
            Err(TokenError::Malformed),
            "{malformed}"
        );
    }
    let unknown = format!("leno_join_{}", "0".repeat(64));
    assert_eq!(store.verify(&unknown, now()), Err(TokenError::Unknown));
}

#[test]
fn a_token_for_one_use_is_used_up_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TokenStore::open(dir.path()).unwrap();
    let (claims, token) = store.create(TokenGrant::default(), now()).unwrap();
    assert!(store.verify(&token, now()).is_ok(), "looking does not use it up");
    assert_eq!(store.redeem(&token, now()).unwrap(), claims);
    let mut restarted = TokenStore::open(dir.path()).unwrap();
    let again = restarted.redeem(&token, now()).unwrap_err();
    assert!(
        matches!(again, TokenStoreError::Token(TokenError::Used)),
        "{again}"
    );
}

#[test]
fn a_bound_token_allows_its_identity_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TokenStore::open(dir.path()).unwrap();
    let bound = |namespace: Option<&str>, account: Option<&str>| Binding {
        namespace: namespace.map(str::to_owned),
        service_account: account.map(str::to_owned),
    };
    for (binding, allowed) in [
        (bound(None, None), true),
        (bound(Some("default"), None), true),
        (bound(Some("default"), Some("reviews")), true),
        (bound(Some("other"), Some("reviews")), false),
        (bound(None, Some("ratings")), false),
    ] {
        let grant = TokenGrant {
            binding: binding.clone(),
            ..TokenGrant::default()
        };
        let (_, token) = store.create(grant, now()).unwrap();
        let claims = TokenStore::open(dir.path())
            .unwrap()
            .verify(&token, now())
            .unwrap();
        assert_eq!(claims.binding.allows(&reviews()), allowed, "{binding:?}");
    }
    let foreign = "spiffe://cluster.local/anything".parse().unwrap();
    assert!(!bound(Some("default"), None).allows(&foreign));
}

#[test]
fn a_revoked_token_is_unknown_and_long_expired_ones_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = TokenStore::open(dir.path()).unwrap();
    let (claims, token) = store.create(TokenGrant::default(), now()).unwrap();
    assert!(store.revoke(&claims.id).unwrap() && !store.revoke(&claims.id).unwrap());
    assert_eq!(store.verify(&token, now()), Err(TokenError::Unknown));
    let grant = TokenGrant {
        expires: Some(now()),
        ..TokenGrant::default()
    };
    store.create(grant, now()).unwrap();
    store.create(TokenGrant::default(), now() + DAY).unwrap();
    assert_eq!(store.list().count(), 2, "its bearer is still to be told why");
    store.create(TokenGrant::default(), now() + DAY * 30).unwrap();
    assert_eq!(store.list().count(), 2);
}

#[test]
fn a_damaged_list_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokens.json"), "[{").unwrap();
    let error = TokenStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, TokenStoreError::Corrupt { .. }));
    assert!(error.to_string().contains("tokens.json"), "{error}");
}

#[test]
fn the_local_token_is_the_operator_s_also_of_a_list_that_does_not_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let token = TokenStore::open(dir.path()).unwrap().local(now()).unwrap();
    let list = dir.path().join("tokens.json");
    let without = fs::read_to_string(&list)
        .unwrap()
        .replace(",\n    \"operator\": true", "");
    assert!(!without.contains("operator"), "{without}");
    fs::write(&list, without).unwrap();
    let mut store = TokenStore::open(dir.path()).unwrap();
    assert!(!store.verify(&token, now()).unwrap().operator);
    assert_eq!(store.local(now()).unwrap(), token);
    assert!(store.verify(&token, now()).unwrap().operator);
    let (claims, _) = store.create(TokenGrant::default(), now()).unwrap();
    assert!(!claims.operator);
    assert_eq!(store.list().count(), 2);
}
