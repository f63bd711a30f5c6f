//! Tags and permissions boundaries of users and roles.

use model::iam as m;
use wire::Cx;

use super::{check_attachable, check_unlinked, find, merge_tags, page, put, tag_list};
use crate::error::IamError;
use crate::keys::IdentityKind::{Role, User};
use crate::keys::{Identity, IdentityKind};
use crate::policy::same_letters;
use crate::state::Iam;

async fn tag(iam: &Iam, cx: &Cx, kind: IdentityKind, name: &str, tags: &[m::Tag]) -> Result<(), IamError> {
    let given = || tags.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
    iam.edit(cx.account.as_str(), kind, name, |found| merge_tags(&mut found.tags, given())).await
}

async fn untag(iam: &Iam, cx: &Cx, kind: IdentityKind, name: &str, gone: &[String]) -> Result<(), IamError> {
    let edit = |found: &mut Identity| {
        found.tags.retain(|key, _| !gone.iter().any(|gone| same_letters(gone, key)));
        Ok(())
    };
    iam.edit(cx.account.as_str(), kind, name, edit).await
}

pub(crate) async fn tag_user(iam: Iam, cx: Cx, input: m::TagUserInput) -> Result<m::TagUserOutput, IamError> {
    tag(&iam, &cx, User, &input.user_name, &input.tags).await?;
    Ok(m::TagUserOutput {})
}

pub(crate) async fn tag_role(iam: Iam, cx: Cx, input: m::TagRoleInput) -> Result<m::TagRoleOutput, IamError> {
    tag(&iam, &cx, Role, &input.role_name, &input.tags).await?;
    Ok(m::TagRoleOutput {})
}

pub(crate) async fn untag_user(iam: Iam, cx: Cx, input: m::UntagUserInput) -> Result<m::UntagUserOutput, IamError> {
    untag(&iam, &cx, User, &input.user_name, &input.tag_keys).await?;
    Ok(m::UntagUserOutput {})
}

pub(crate) async fn untag_role(iam: Iam, cx: Cx, input: m::UntagRoleInput) -> Result<m::UntagRoleOutput, IamError> {
    untag(&iam, &cx, Role, &input.role_name, &input.tag_keys).await?;
    Ok(m::UntagRoleOutput {})
}

pub(crate) async fn of_user(iam: Iam, cx: Cx, input: m::ListUserTagsInput) -> Result<m::ListUserTagsOutput, IamError> {
    let found = iam.one(cx.account.as_str(), User, &input.user_name).await?;
    let tags = tag_list(&found.tags).unwrap_or_default();
    let page = page(tags, input.marker.as_deref(), input.max_items, |tag| tag.key.clone())?;
    Ok(m::ListUserTagsOutput { is_truncated: page.is_truncated, marker: page.marker, tags: page.items })
}

pub(crate) async fn of_role(iam: Iam, cx: Cx, input: m::ListRoleTagsInput) -> Result<m::ListRoleTagsOutput, IamError> {
    let found = iam.one(cx.account.as_str(), Role, &input.role_name).await?;
    let tags = tag_list(&found.tags).unwrap_or_default();
    let page = page(tags, input.marker.as_deref(), input.max_items, |tag| tag.key.clone())?;
    Ok(m::ListRoleTagsOutput { is_truncated: page.is_truncated, marker: page.marker, tags: page.items })
}

async fn bound(iam: &Iam, cx: &Cx, kind: IdentityKind, name: &str, arn: Option<&str>) -> Result<(), IamError> {
    let account = cx.account.as_str();
    iam.change(move |tx| async move {
        let mut found = find(&tx, account, kind, name).await?;
        check_unlinked(&found)?;
        if let Some(arn) = arn {
            check_attachable(&tx, account, arn).await?;
        }
        found.boundary = arn.map(str::to_owned);
        put(&tx, &found);
        Ok(())
    })
    .await
}

pub(crate) async fn bound_user(
    iam: Iam,
    cx: Cx,
    input: m::PutUserPermissionsBoundaryInput,
) -> Result<m::PutUserPermissionsBoundaryOutput, IamError> {
    bound(&iam, &cx, User, &input.user_name, Some(&input.permissions_boundary)).await?;
    Ok(m::PutUserPermissionsBoundaryOutput {})
}

pub(crate) async fn bound_role(
    iam: Iam,
    cx: Cx,
    input: m::PutRolePermissionsBoundaryInput,
) -> Result<m::PutRolePermissionsBoundaryOutput, IamError> {
    bound(&iam, &cx, Role, &input.role_name, Some(&input.permissions_boundary)).await?;
    Ok(m::PutRolePermissionsBoundaryOutput {})
}

pub(crate) async fn unbound_user(
    iam: Iam,
    cx: Cx,
    input: m::DeleteUserPermissionsBoundaryInput,
) -> Result<m::DeleteUserPermissionsBoundaryOutput, IamError> {
    bound(&iam, &cx, User, &input.user_name, None).await?;
    Ok(m::DeleteUserPermissionsBoundaryOutput {})
}

pub(crate) async fn unbound_role(
    iam: Iam,
    cx: Cx,
    input: m::DeleteRolePermissionsBoundaryInput,
) -> Result<m::DeleteRolePermissionsBoundaryOutput, IamError> {
    bound(&iam, &cx, Role, &input.role_name, None).await?;
    Ok(m::DeleteRolePermissionsBoundaryOutput {})
}
