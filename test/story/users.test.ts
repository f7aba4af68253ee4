import { simulate } from './simulate.ts';

simulate('users', 0.08);
simulate('users-delete', 0.04);
simulate('users-ignored', 0.03);
simulate('users-append', 0.04);
simulate('users-full', 0.03);
simulate('users-once', 0.03);
