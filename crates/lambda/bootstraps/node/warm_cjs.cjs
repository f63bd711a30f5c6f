// What a rehearsal (rehearsal.cjs) loads in a function's place.
'use strict';

exports.handler = async (event, context) => {
  console.log('warm', event);
  return { left: context.getRemainingTimeInMillis() };
};
