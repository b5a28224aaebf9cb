//! `envoy.type.matcher.v3.NodeMatcher`: which proxies are meant.

use super::metadata::{ValueMatcher, value};
use super::{StringMatcher, string};
use crate::compile::at::{At, compiling};
use crate::compile::pb::matcher as pb;
use crate::compile::{NoFiles, Rejection, Warnings};

/// One of them is to match; without any, everybody is meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeMatchers(pub(crate) Vec<NodeMatcher>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeMatcher {
    pub(crate) id: Option<StringMatcher>,
    /// All of them: a path in the metadata, and what stands there.
    pub(crate) metadata: Vec<(Vec<String>, ValueMatcher)>,
}

impl NodeMatchers {
    pub fn compile(messages: &[pb::NodeMatcher]) -> Result<Self, Rejection> {
        compiling(&NoFiles, &mut Warnings::default(), |at| {
            at.each("node_matchers", messages, node).map(Self)
        })
    }
}

fn node(at: &At<'_>, message: &pb::NodeMatcher) -> Result<NodeMatcher, Rejection> {
    let pb::NodeMatcher {
        node_id,
        node_metadatas,
    } = message;
    let id = node_id.as_ref().map(|id| string(&at.field("node_id"), id));
    Ok(NodeMatcher {
        id: id.transpose()?,
        metadata: at.each("node_metadatas", node_metadatas, |at, message| {
            use pb::struct_matcher::{PathSegment, path_segment::Segment};
            let pb::StructMatcher { path, value: wanted } = message;
            if path.is_empty() {
                return Err(at.field("path").reject("required"));
            }
            let path = at.each("path", path, |at, PathSegment { segment }| {
                let Segment::Key(key) = at.required("segment", segment)?;
                at.not_empty("key", key)?;
                Ok(key.clone())
            })?;
            Ok((path, value(&at.field("value"), at.required("value", wanted)?)?))
        })?,
    })
}
