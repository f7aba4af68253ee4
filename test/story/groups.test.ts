import { simulate } from './simulate.ts';

simulate('groups', 0.03);
simulate('groups-delete', 0.02);
simulate('groups-ignored', 0.02);
simulate('groups-append', 0.02);
simulate('groups-full', 0.01);
simulate('groups-once', 0.01);
