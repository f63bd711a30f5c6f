// AWS's own validator of SNS messages (npm sns-validator) on what an HTTPS subscriber of ours got.
//
// MESSAGES: a JSON file of messages. The validator takes certificates over https alone, so the test that wrote the file
// put the address of its TLS front into SigningCertURL, which no signature covers; the path is ours.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import MessageValidator from "sns-validator";

const messages = JSON.parse(readFileSync(process.env.MESSAGES, "utf8"));
const validator = new MessageValidator(/^127\.0\.0\.1:\d+$/);

const validate = (message) =>
  new Promise((resolve) => validator.validate({ ...message }, (error) => resolve(error?.message ?? "valid")));

for (const [index, message] of messages.entries()) {
  const name = `${index}: ${message.Type}, signature version ${message.SignatureVersion}`;
  test(`${name} is valid`, async () => assert.equal(await validate(message), "valid"));
  for (const member of ["Message", "MessageId", "Timestamp", "TopicArn"]) {
    test(`${name} with another ${member} is not`, async () =>
      assert.equal(await validate({ ...message, [member]: `${message[member]}x` }), "The message signature is invalid."));
  }
}

test("there was something to validate", () => assert.ok(messages.length >= 6));
