//! What can be stored, byte for byte, and what is refused.

use std::collections::BTreeMap;

use super::subject::{Subject, keyed, known, settlement, task, text};
use crate::{
    body::Body,
    bounds::{KEY_MAX, NAME_MAX, PAYLOAD_MAX, TAG_MAX, TAGS_MAX},
    storage::{Claim, Effect, NewTask, Settlement, StorageErrorKind, TaskFilter},
    verdict::Verdict,
};

/// A payload and an output come back byte for byte, with their codec.
async fn comes_back(subject: &Subject, body: Body) {
    let id = subject.store(NewTask { payload: body.clone(), ..task() }).await;
    let held = subject.node().await.take_one().await;
    assert!(held.payload == body, "the payload, as handed out");
    let output = Some(body.clone());
    subject.settle(Settlement { output, ..settlement(&held, Verdict::Complete) }).await;
    let info = subject.info(id).await;
    assert!(info.payload == body, "the payload, as read");
    assert!(info.output == Some(body), "the output");
}

/// No bytes at all are stored as such, and are another thing than none.
pub async fn a_payload_of_no_bytes_comes_back(subject: &Subject) {
    comes_back(subject, text("")).await;
}

/// Text beyond the basic plane comes back byte for byte.
pub async fn a_payload_of_emoji_comes_back(subject: &Subject) {
    comes_back(subject, text(r#"{"🦀":"👩‍👩‍👧‍👦 ß é e\u0301 \u0000 '\" \\ "}"#)).await;
}

/// The largest payload comes back.
pub async fn a_payload_of_the_largest_size_comes_back(subject: &Subject) {
    let bytes: Vec<u8> = (0..PAYLOAD_MAX).map(|n| (n % 95 + 32) as u8).collect();
    comes_back(subject, Body { codec: Body::JSON, bytes: bytes.into() }).await;
}

/// The largest payload replaces a smaller one, and the largest output is kept beside an effect.
pub async fn a_body_of_the_largest_size_takes_the_place_of_a_small_one(subject: &Subject) {
    let bytes: Vec<u8> = (0..PAYLOAD_MAX).map(|n| (n % 95 + 32) as u8).collect();
    let body = Body { codec: Body::JSON, bytes: bytes.into() };
    let id = subject.store(keyed("a")).await;
    subject.enqueue(NewTask { payload: body.clone(), ..keyed("a") }).await;
    let held = subject.node().await.take_one().await;
    assert!(held.payload == body, "the payload");
    let (output, effects) = (Some(body.clone()), vec![Effect::Enqueue(Box::new(task()))]);
    let done = Settlement { output, effects, ..settlement(&held, Verdict::Complete) };
    subject.settle(done).await;
    assert!(subject.info(id).await.output == Some(body), "the output");
}

/// Bytes of another codec are any bytes.
pub async fn a_payload_of_any_bytes_comes_back(subject: &Subject) {
    let bytes: Vec<u8> = (0..=255).rev().chain([0, 0xff, 0xfe, 0]).collect();
    for codec in [1, 255, u16::MAX] {
        comes_back(subject, Body { codec, bytes: bytes.as_slice().into() }).await;
    }
}

/// Tries to store a task that must not be, alone and among good ones.
async fn refused(subject: &Subject, bad: NewTask) {
    let good = task();
    let alone = subject.step().await.enqueue_one(bad.clone()).await.map(|one| vec![one]);
    let among = subject.try_enqueue(vec![good.clone(), bad.clone()]).await;
    for stored in [alone, among, subject.try_enqueue(vec![bad.clone()]).await] {
        let error = stored.expect_err("it must be refused");
        assert_eq!(error.kind(), StorageErrorKind::Rejected, "{error}");
        assert!(error.to_string().contains(&bad.id.to_string()), "which one? {error}");
    }
    assert!(subject.find(bad.id).await.is_none());
    assert!(subject.find(good.id).await.is_none(), "all or nothing");
}

fn tagged(key: &str, value: &str) -> NewTask {
    NewTask { tags: [(key.to_owned(), value.to_owned())].into(), ..task() }
}

/// Control characters, which no two databases treat alike, are refused wherever text is compared.
pub async fn control_characters_are_refused(subject: &Subject) {
    for bad in ["nul\0", "\ttab", "line\nfeed", "\u{7f}", "\u{85}", "\r"] {
        refused(subject, NewTask { name: bad.into(), ..task() }).await;
        refused(subject, NewTask { queue: bad.into(), ..task() }).await;
        refused(subject, keyed(bad)).await;
        refused(subject, tagged(bad, "value")).await;
        refused(subject, tagged("key", bad)).await;
    }
}

/// Empty names, queues, keys and tags are refused.
pub async fn empty_texts_are_refused(subject: &Subject) {
    refused(subject, NewTask { name: "".into(), ..task() }).await;
    refused(subject, NewTask { queue: "".into(), ..task() }).await;
    refused(subject, keyed("")).await;
    refused(subject, tagged("", "value")).await;
    refused(subject, tagged("key", "")).await;
}

/// The longest texts, of the longest characters, are stored; one character more is refused.
pub async fn the_longest_texts_are_stored_and_no_longer_ones(subject: &Subject) {
    let long = |n: usize| "🦀".repeat(n);
    let tags = |count: usize, len: usize| -> BTreeMap<String, String> {
        (0..count).map(|n| (format!("{n:02}{}", long(len - 2)), long(len))).collect()
    };
    let name: std::sync::Arc<str> = long(NAME_MAX).into();
    let largest = NewTask {
        name: name.clone(),
        queue: name.clone(),
        key: Some(long(KEY_MAX)),
        tags: tags(TAGS_MAX, TAG_MAX),
        ..task()
    };
    let id = subject.store(largest.clone()).await;
    let info = subject.info(id).await;
    assert_eq!((&*info.name, &*info.queue, &info.key), (&*name, &*name, &largest.key));
    assert_eq!(info.tags, largest.tags);
    let node = subject.node().await;
    let claim = Claim { handlers: known(&[(&name, 1)]), ..node.wish(1).queue(name, 1, 0) };
    assert_eq!(node.claim(claim).await.tasks.len(), 1);

    refused(subject, NewTask { name: long(NAME_MAX + 1).into(), ..task() }).await;
    refused(subject, NewTask { queue: long(NAME_MAX + 1).into(), ..task() }).await;
    refused(subject, keyed(&long(KEY_MAX + 1))).await;
    refused(subject, tagged(&long(TAG_MAX + 1), "value")).await;
    refused(subject, tagged("key", &long(TAG_MAX + 1))).await;
    refused(subject, NewTask { tags: tags(TAGS_MAX + 1, 5), ..task() }).await;
}

/// Texts that some database would take for one another: by case, trailing space, collation, normal form.
const LOOKALIKES: [&str; 12] =
    ["name", "Name", "NAME", "name ", " name", "straße", "strasse", "é", "e\u{301}", "e", "%", "_"];

/// Names of handlers are compared by their bytes.
pub async fn handler_names_are_compared_by_bytes(subject: &Subject) {
    let node = subject.node().await;
    for name in LOOKALIKES {
        subject.store(NewTask { name: name.into(), ..task() }).await;
    }
    for name in LOOKALIKES {
        let claim =
            Claim { handlers: known(&[(name, 1)]), ..node.wish(20).queue("default", 20, 0) };
        let taken = node.claim(claim).await.tasks;
        let names: Vec<&str> = taken.iter().map(|task| &*task.name).collect();
        assert_eq!(names, [name]);
    }
}

/// Names of queues are compared by their bytes.
pub async fn queue_names_are_compared_by_bytes(subject: &Subject) {
    let node = subject.node().await;
    for queue in LOOKALIKES {
        subject.store(NewTask { queue: queue.into(), ..task() }).await;
    }
    for queue in LOOKALIKES {
        let taken = node.claim(node.wish(20).queue(queue, 20, 0)).await.tasks;
        let queues: Vec<&str> = taken.iter().map(|task| &*task.queue).collect();
        assert_eq!(queues, [queue]);
    }
}

/// Keys are compared by their bytes.
pub async fn keys_are_compared_by_bytes(subject: &Subject) {
    for key in LOOKALIKES {
        subject.store(keyed(key)).await;
    }
    assert_eq!(subject.list(TaskFilter::default()).await.len(), LOOKALIKES.len());
}

/// Tags are compared by their bytes, keys and values.
pub async fn tags_are_compared_by_bytes(subject: &Subject) {
    for text in LOOKALIKES {
        let tags = [(text.to_owned(), text.to_owned()), ("same".to_owned(), text.to_owned())];
        subject.store(NewTask { tags: tags.into(), ..task() }).await;
    }
    for text in LOOKALIKES {
        for key in [text, "same"] {
            let tag = Some((key.to_owned(), text.to_owned()));
            let found = subject.list(TaskFilter { tag, ..TaskFilter::default() }).await;
            assert_eq!(found.len(), 1, "{key:?} = {text:?}");
        }
    }
}
