// Loaded once by generic.cjs, which exercises the loader with it.
'use strict';

exports.handler = async (event) => event;
