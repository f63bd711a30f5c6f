"""Makes a thumbnail of every picture that is uploaded below source/."""

import io
import os
import urllib.parse

import boto3
from PIL import Image

s3 = boto3.client("s3")
SOURCE = "source/"
# Where thumbnails go and how large they are at most, in pixels of the longer side.
THUMBS = os.environ.get("THUMBS", "thumbs/")
SIDE = int(os.environ.get("SIDE", "128"))


def thumbnail(data):
    """The picture `data`, made smaller, in its own format; and the type of its content."""
    with Image.open(io.BytesIO(data)) as picture:
        kind = picture.format
        picture.thumbnail((SIDE, SIDE))
        out = io.BytesIO()
        picture.save(out, kind)
        return out.getvalue(), Image.MIME[kind]


def handler(event, context):
    made = []
    for record in event["Records"]:
        bucket, key = record["s3"]["bucket"]["name"], urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        body, content_type = thumbnail(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        to = THUMBS + key.removeprefix(SOURCE)
        s3.put_object(Bucket=bucket, Key=to, Body=body, ContentType=content_type)
        made.append(to)
    return made
